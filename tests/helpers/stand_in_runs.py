"""Runs with fake stages: fixtures and helpers for tests of processes."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.hardware.gpu_catalog import cpu
from engine.run.directory import RunDirectory, create_run
from tests.helpers.made_run import config_of, plan_of

PATIENCE = 30.0  # seconds; a test that takes longer has failed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("NANOSOLO_HOME", str(folder))
    return folder


@pytest.fixture
def make_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RunDirectory]]:
    """Create a run whose stages do what the arguments say. Its processes are ended after the test."""
    monkeypatch.setenv("STAND_IN", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "stand_in"))
    made: list[RunDirectory] = []

    def make(
        name: str = "one",
        stages: tuple[str, ...] = ("data", "pretrain"),
        preempt_file: str | None = None,
        **behaviour: str,
    ) -> RunDirectory:
        config = config_of("quickstart", pipeline__stages=list(stages), runtime__preempt_file=preempt_file)
        run = create_run(name, config, plan_of(config, cpu(1, 2**34)))
        (run.path / "behaviour.json").write_text(json.dumps(behaviour))
        made.append(run)
        return run

    yield make
    for run in made:
        for process in processes_of(run):
            process.kill()


def processes_of(run: RunDirectory) -> list[psutil.Process]:
    """All processes with the run's path in their command line."""
    return [p for p in psutil.process_iter(["cmdline"]) if str(run.path) in (p.info["cmdline"] or ())]


def wait_for(condition: Callable[[], object]) -> None:
    """Return when the condition is true; fail the test if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
