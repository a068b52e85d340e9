"""CPU threads: shared among the runs of a host, chosen once, kept when a run is resumed."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.layers import with_changes
from engine.events.kinds import Device, encode
from engine.hardware.detect import usable_cores
from engine.hardware.gpu_catalog import cpu
from engine.launch import control
from engine.run import cpu_threads
from engine.run.cpu_threads import (
    free_threads,
    runs_at_work,
    share,
    stage_threads,
    thread_environment,
    threads_warning,
    trained_threads,
    worker_threads,
)
from engine.run.directory import RunDirectory, create_run
from engine.run.runner import start_runner
from tests.helpers import tiny_run
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.made_run import Story, config_of, plan_of
from tests.helpers.stand_in_runs import wait_for

CONFIG = with_changes(config_of("quickstart"), {"runtime.threads": None})


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A new run on a machine of twelve cores where nothing else runs and the user asked for nothing."""
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cpu_threads, "usable_cores", lambda: 12)
    monkeypatch.setattr(cpu_threads, "runs_at_work", set)
    return create_run("one", CONFIG, plan_of(CONFIG, cpu(1, 2**34)))


def write_device(run: RunDirectory, name: str, device: str = "cpu", **more: int) -> None:
    story = Story(plan_of(CONFIG, cpu(1, 2**34)), CONFIG, time.time())
    fields = {"torch": "2", "compiled": False, "grad_accum_steps": 1, "device_batch_size": 1}
    story.add(Device, stage="pretrain", device=device, name=name, **fields, **more)
    with run.events_file.open("ab") as file:
        file.write(encode(story.events[-1]))


@pytest.mark.parametrize(("cores", "others", "own"), [(12, 0, 12), (12, 1, 6), (12, 11, 1), (2, 11, 1), (1, 0, 1)])
def test_runs_share_the_cores(cores: int, others: int, own: int) -> None:
    assert share(cores, others) == own
    assert own * (1 + others) <= max(cores, 1 + others)


def test_other_runs_count_and_the_run_itself_does_not(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_threads, "runs_at_work", lambda: {"/a", "/b", str(run.path)})
    assert free_threads(run) == stage_threads(run, CONFIG) == 4
    assert free_threads() == 3  # what is no run shares with this one, too


def test_runs_of_any_home_are_seen_while_they_work(home: Path, tmp_path: Path) -> None:
    run = create_run("one", CONFIG, plan_of(CONFIG, cpu(1, 2**34)))
    assert str(run.path) not in runs_at_work()
    with FakeRunner(run, tmp_path):
        assert str(run.path) in runs_at_work()


def test_what_the_user_asks_for_comes_first(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert stage_threads(run, CONFIG) == free_threads() == 5
    for wrong in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", wrong)
        assert stage_threads(run, CONFIG) == 12
    assert stage_threads(run, with_changes(CONFIG, {"runtime.threads": 7})) == 7


def test_a_run_keeps_the_threads_that_it_trained_with(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    write_device(run, "NVIDIA A100", "cuda", threads=64)
    assert trained_threads(run) is None  # sums on the GPU do not depend on them
    write_device(run, "CPU, 3 threads")  # as it was noted before
    assert trained_threads(run) == stage_threads(run, CONFIG) == 3
    write_device(run, "CPU, 8 threads", threads=8)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(cpu_threads, "runs_at_work", lambda: {"/a", "/b"})
    assert trained_threads(run) == stage_threads(run, CONFIG) == 8
    assert threads_warning(8, 8) == threads_warning(None, 1) == ""
    monkeypatch.setattr(cpu_threads, "usable_cores", lambda: 4)
    assert stage_threads(run, CONFIG) == 4
    assert threads_warning(8, 4).startswith("this run trained with 8 CPU threads so far and continues with 4")


def test_every_library_of_a_stage_gets_the_number(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    names = "OMP_NUM_THREADS", "RAYON_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"
    assert thread_environment(3, 3) == dict.fromkeys(names, "3")
    # one thread for sums leaves the others to the tokenizer and to torch.compile
    assert thread_environment(1, 3) == dict(zip(names, ("1", "3", "3"), strict=True))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "12")
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    assert thread_environment(3, 3) == dict(zip(names, ("3", "1", "3"), strict=True))
    assert worker_threads() == 1


def test_tokenizing_takes_all_cores_where_sums_are_kept_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    monkeypatch.setattr(cpu_threads, "usable_cores", lambda: 12)
    monkeypatch.setattr(cpu_threads, "runs_at_work", set)
    assert (free_threads(), worker_threads()) == (1, 12)


@pytest.mark.skipif(usable_cores() < 2, reason="one core has one number of threads")
def test_a_resume_under_other_settings_of_the_shell_trains_with_the_same_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_run.Base(tmp_path / "base")
    monkeypatch.setenv("NANOSOLO_HOME", str(base.home))
    run = base.run(tmp_path / "run", runtime__threads=None, budget__steps=400)

    def until(there: Callable[[], object]) -> None:
        wait_for(there)
        control.stop_run(run)
        wait_for(lambda: not run.is_running())

    for number in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", number)
        before = len(tiny_run.events_of(run, Device))
        start_runner(run)
        until(lambda before=before: len(tiny_run.events_of(run, Device)) > before)
    assert [(event.threads, event.name) for event in tiny_run.events_of(run, Device)] == [(1, "CPU, 1 thread")] * 2
    assert os.environ["OMP_NUM_THREADS"] == "2"
