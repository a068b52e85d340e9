"""The runner with real processes: how stages end, how it is stopped, and what outlives what."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.core.errors import UsageError
from engine.events.history import read_history
from engine.events.kinds import Advice, Checkpoint, RunEnded, RunStarted, StageEnded, StageStarted
from engine.events.log import read_events
from engine.launch.control import ask_for_checkpoint, stop_run
from engine.launch.start import resume_run, wait_until_running
from engine.run.directory import RunDirectory, RunLock
from engine.run.runner import start_runner
from engine.run.stage_status import read_stage_status
from engine.run.state import state_of
from tests.helpers.stand_in_runs import processes_of, wait_for

MakeRun = Callable[..., RunDirectory]


def run_to_its_end(run: RunDirectory) -> int:
    """Run it in the foreground. Returns the runner's exit code."""
    return subprocess.run((sys.executable, "-m", "engine", str(run.path)), check=False, capture_output=True).returncode


def start(run: RunDirectory) -> "subprocess.Popen[bytes]":
    runner = start_runner(run)
    wait_until_running(run, runner)
    return runner


def ends_of(run: RunDirectory) -> dict[str, StageEnded]:
    return {e.stage: e for e in read_events(run.events_file) if isinstance(e, StageEnded)}


def end_of(run: RunDirectory) -> RunEnded | None:
    return read_history(run.events_file).ended


def test_stages_run_in_order_and_the_run_is_done(make_run: MakeRun) -> None:
    run = make_run()
    assert run_to_its_end(run) == 0
    found = list(read_events(run.events_file))
    assert [e.stage for e in found if isinstance(e, StageStarted)] == ["data", "pretrain"]
    assert isinstance(found[0], RunStarted)
    assert found[0].resumed is False
    assert isinstance(found[-1], RunEnded)
    assert (found[-1].outcome, found[-1].exit_code) == ("done", 0)
    assert run.log_file.read_text() == "data did its work\npretrain did its work\n"
    status = read_stage_status(run, ("data", "pretrain"))
    assert (status.done, status.left, status.started) == ({"data", "pretrain"}, (), True)
    assert not run.is_running()


@pytest.mark.parametrize(
    ("behaviour", "outcome", "code", "message"),
    [
        ("refuse", "refused", 2, "data.paths: there is nothing here. Give a folder."),
        ("raise", "crashed", 5, "ValueError: something odd"),
        (
            "starve",
            "out_of_host_memory",
            3,
            "out of host memory. End other programs, or use a machine with more memory, then resume.",
        ),
        ("diverge", "diverged", 4, "exit code 4"),
        ("kill self", "killed", 5, "the process was killed by SIGKILL"),
    ],
)
def test_a_stage_that_fails_ends_the_run_and_says_why(
    make_run: MakeRun, behaviour: str, outcome: str, code: int, message: str
) -> None:
    run = make_run(data=behaviour)
    assert run_to_its_end(run) == code
    ended = ends_of(run)
    assert set(ended) == {"data"}  # nothing runs after it
    assert (ended["data"].outcome, ended["data"].message) == (outcome, message)
    last = end_of(run)
    assert last is not None
    assert (last.outcome, last.exit_code, last.message) == (outcome, code, message)


def test_a_gpu_error_comes_with_what_to_do(make_run: MakeRun) -> None:
    run = make_run(data="ecc")
    assert run_to_its_end(run) == 5
    message = ends_of(run)["data"].message
    assert "reset the GPU" in message
    assert "uncorrectable ECC error" in message


def test_a_resumed_run_skips_what_is_done(make_run: MakeRun) -> None:
    run = make_run(pretrain="raise")
    assert run_to_its_end(run) == 5
    (run.path / "behaviour.json").write_text("{}")
    assert run_to_its_end(run) == 0
    started = [e.stage for e in read_events(run.events_file) if isinstance(e, StageStarted)]
    assert started == ["data", "pretrain", "pretrain"]
    assert read_history(run.events_file).started.resumed is True  # type: ignore[union-attr]


def test_stop_ends_in_a_checkpoint_and_code_130(make_run: MakeRun) -> None:
    run = make_run(pretrain="train")
    runner = start(run)
    wait_for((run.path / "pretrain.began").exists)
    stop_run(run)
    assert runner.wait(30) == 130
    assert [type(e) for e in read_events(run.events_file)][-3:] == [Checkpoint, StageEnded, RunEnded]
    assert ends_of(run)["pretrain"].outcome == "stopped"
    assert state_of(run, read_history(run.events_file)) == "stopped"


SIGNAL_BETWEEN_STAGES = """
import os, signal, sys
from pathlib import Path
from engine.run.directory import RunDirectory
from engine.run.runner import Runner
begin = Runner._restart_stage
def begin_after_a_signal(self, stage):
    os.kill(os.getpid(), signal.SIGTERM)
    begin(self, stage)
Runner._restart_stage = begin_after_a_signal
sys.exit(Runner(RunDirectory(Path(sys.argv[1]))).main())
"""


def test_a_stop_just_before_a_stage_is_started_reaches_it(make_run: MakeRun) -> None:
    run = make_run(data="wait")
    command = (sys.executable, "-c", SIGNAL_BETWEEN_STAGES, str(run.path))
    assert subprocess.run(command, check=False, capture_output=True, timeout=50).returncode == 130
    assert ends_of(run)["data"].outcome == "stopped"


SECOND_SIGNAL = """
import os, signal, sys
from engine.stages import runtime as stage
def interrupted_print(*_what, **_where):
    os.kill(os.getpid(), signal.SIGTERM)
stage.print = interrupted_print
sys.exit(stage.main(sys.argv[1:]))
"""


def test_a_second_signal_while_a_stage_ends_for_the_first_is_no_crash(make_run: MakeRun) -> None:
    run = make_run(data="wait")
    command = (sys.executable, "-c", SECOND_SIGNAL, str(run.path), "data")
    stage = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for((run.path / "data.began").exists)
    stage.send_signal(signal.SIGTERM)
    said, _ = stage.communicate(timeout=30)
    assert (stage.returncode, said) == (130, "")


def test_stop_now_waits_for_nothing(make_run: MakeRun) -> None:
    run = make_run(pretrain="train")
    runner = start(run)
    wait_for((run.path / "pretrain.began").exists)
    stop_run(run, now=True)
    assert runner.wait(30) == 130
    assert not any(isinstance(e, Checkpoint) for e in read_events(run.events_file))


def test_a_checkpoint_can_be_asked_for(make_run: MakeRun) -> None:
    run = make_run(pretrain="train")
    runner = start(run)
    wait_for((run.path / "pretrain.began").exists)
    ask_for_checkpoint(run)
    wait_for(lambda: any(isinstance(e, Checkpoint) for e in read_events(run.events_file)))
    assert runner.poll() is None
    assert run.is_running()


def test_no_signal_comes_too_early(make_run: MakeRun) -> None:
    """A stage is asked for a checkpoint, and to stop, from the very instant that it exists."""
    run = make_run(data="train", stages=("data",))
    runner = start(run)
    while not (run.path / "data.began").exists():
        ask_for_checkpoint(run)
    assert runner.poll() is None
    stop_run(run)
    assert runner.wait(30) == 130
    assert ends_of(run)["data"].outcome == "stopped"


def test_a_stage_is_stopped_that_waits_for_something(make_run: MakeRun) -> None:
    run = make_run(data="wait")
    runner = start(run)
    wait_for((run.path / "data.began").exists)
    stop_run(run)
    assert runner.wait(30) == 130
    assert set(ends_of(run)) == {"data"}


@pytest.mark.parametrize("where", ["run", "as configured"])
def test_a_notice_that_the_machine_goes_stops_the_run(make_run: MakeRun, tmp_path: Path, where: str) -> None:
    notice = tmp_path / "notice"
    run = make_run(pretrain="train", preempt_file=str(notice))
    notice.touch()  # from an earlier machine: it does not count
    os.utime(notice, (time.time() - 60, time.time() - 60))
    runner = start(run)
    wait_for((run.path / "pretrain.began").exists)
    assert runner.poll() is None
    (run.preempt_file if where == "run" else notice).touch()
    assert runner.wait(30) == 130
    assert [e.code for e in read_events(run.events_file) if isinstance(e, Advice)] == ["preempted"]
    assert ends_of(run)["pretrain"].outcome == "stopped"


def test_a_lost_terminal_touches_nothing(make_run: MakeRun) -> None:
    run = make_run(pretrain="train")
    runner = start(run)
    wait_for((run.path / "pretrain.began").exists)
    os.kill(runner.pid, signal.SIGHUP)
    assert os.getsid(runner.pid) == runner.pid != os.getsid(0)
    ask_for_checkpoint(run)  # it still answers
    wait_for(lambda: any(isinstance(e, Checkpoint) for e in read_events(run.events_file)))
    assert runner.poll() is None


def test_a_second_runner_is_refused(make_run: MakeRun) -> None:
    run = make_run(pretrain="train")
    start(run)
    before = run.runner_file.read_bytes()
    second = subprocess.run((sys.executable, "-m", "engine", str(run.path)), check=False, capture_output=True)
    assert second.returncode == 2
    assert "is running already" in second.stderr.decode()
    assert run.runner_file.read_bytes() == before
    with pytest.raises(UsageError, match="is running already"):
        resume_run(run)


def test_a_stage_outlives_its_runner_and_is_stopped_all_the_same(make_run: MakeRun) -> None:
    run = make_run(pretrain="train")
    runner = start(run)
    wait_for((run.path / "pretrain.began").exists)
    runner.kill()
    runner.wait()
    assert run.is_running()  # the lock went on to the stage
    assert run.runner() is None
    assert state_of(run, read_history(run.events_file)) == "orphaned"
    with pytest.raises(UsageError, match="is running"):
        resume_run(run)
    stop_run(run)
    wait_for(lambda: not run.is_running())
    assert any(isinstance(e, Checkpoint) for e in read_events(run.events_file))
    assert state_of(run, read_history(run.events_file)) == "failed"
    (run.path / "behaviour.json").write_text("{}")
    assert run_to_its_end(run) == 0


def test_a_stage_that_dies_leaves_the_runner_to_say_so(make_run: MakeRun) -> None:
    run = make_run(pretrain="train")
    runner = start(run)
    wait_for((run.path / "pretrain.began").exists)
    stage = next(p for p in processes_of(run) if "engine.stages.runtime" in p.cmdline())
    stage.kill()
    assert runner.wait(30) == 5
    assert ends_of(run)["pretrain"].message == "the process was killed by SIGKILL"


def test_looking_never_disturbs(make_run: MakeRun) -> None:
    run = make_run(stages=("data",))
    runner = start_runner(run)
    while runner.poll() is None:
        run.is_running()  # takes the lock for an instant, again and again, while the runner wants it
    assert runner.returncode == 0
    assert end_of(run) is not None


def test_nothing_that_is_not_running_is_stopped(make_run: MakeRun) -> None:
    run = make_run()
    for ask in (stop_run, ask_for_checkpoint):
        with pytest.raises(UsageError, match="is not running"):
            ask(run)
    assert not run.lock_file.exists()  # looking makes nothing
    with RunLock(run):
        assert run.is_running()
    assert not run.is_running()
