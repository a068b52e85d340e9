"""Checkpoints carry the code that wrote them; whoever loads one under other code warns once, and records it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.checkpoint.manifest import MANIFEST_FILE, code_of, verify
from engine.events.kinds import Warning
from engine.hardware.versions import Code
from engine.run.directory import RunDirectory
from engine.stages.report import render
from tests.helpers import tiny_run
from tests.helpers.tiny_run import Base, events_of, train

HALF = 10
STOP_AT_HALF = f"""
from engine.train.training import Training
step = Training._step
def until_half(self, loader):
    step(self, loader)
    self.context.stop_asked = self.state.step == {HALF}
Training._step = until_half
"""


@pytest.fixture
def run(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """Stopped half way, under the commit `aaa`."""
    monkeypatch.setenv("NANOSOLO_HOME", str(base.home))
    monkeypatch.setenv("NANOSOLO_COMMIT", "aaa")
    run = base.run(tmp_path / "run", budget__steps=2 * HALF)
    assert train(run, STOP_AT_HALF).returncode == 130
    return run


def checkpoint(run: RunDirectory, step: int) -> Path:
    return run.checkpoints("pretrain") / f"step_{step:06d}"


def evaluate(run: RunDirectory) -> str:
    command = [sys.executable, "-m", "engine.stages.runtime", str(run.path), "evaluate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=tiny_run.PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_other_code_is_warned_of_when_it_resumes_and_evaluates(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_of(checkpoint(run, HALF)) == Code("0.1.0", "aaa")
    monkeypatch.setenv("NANOSOLO_COMMIT", "bbb")
    assert train(run).returncode == 0
    [warning] = events_of(run, Warning)
    assert (warning.code, warning.stage, warning.step) == ("code_changed", "pretrain", HALF)
    assert warning.message == (
        f"checkpoints/pretrain/step_{HALF:06d} was written by nanosolo 0.1.0 (aaa), this is 0.1.0 (bbb): "
        "results may differ"
    )
    assert code_of(checkpoint(run, 2 * HALF)) == Code("0.1.0", "bbb")
    evaluate(run)
    assert len(events_of(run, Warning)) == 1
    monkeypatch.setenv("NANOSOLO_COMMIT", "ccc")
    evaluate(run)
    assert [(w.stage, w.step) for w in events_of(run, Warning)] == [("pretrain", HALF), ("evaluate", 2 * HALF)]
    told = render(run)
    assert "restarted with other settings or other code" in told
    assert f"| pretrain | {HALF} | code |" in told


def test_the_same_code_says_nothing(run: RunDirectory) -> None:
    assert train(run).returncode == 0
    evaluate(run)
    assert not events_of(run, Warning)
    assert "other code" not in render(run)


def test_a_checkpoint_of_before_is_of_unknown_code_and_no_warning(run: RunDirectory) -> None:
    for path in run.checkpoints("pretrain").glob(f"*/{MANIFEST_FILE}"):
        manifest = json.loads(path.read_text())
        del manifest["code"]
        path.write_text(json.dumps(manifest))
    verify(checkpoint(run, HALF))
    assert code_of(checkpoint(run, HALF)) is None
    done = train(run)
    assert done.returncode == 0
    assert f"step_{HALF:06d}: the version of nanosolo that wrote it is unknown" in done.stdout
    assert not events_of(run, Warning)
