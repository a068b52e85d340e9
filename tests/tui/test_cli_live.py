"""Runs started, followed, stopped and resumed from the command line, as lines in a pipe and on a real terminal."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pexpect
import psutil
import pyte
import pytest

from engine.events.kinds import RunEnded
from engine.events.log import EventLog
from engine.run.directory import RunDirectory, RunLock
from tests.helpers.command_line import PROGRAM, environment, nanosolo
from tests.helpers.made_run import story_of, write_run
from tui.cli.follow import GRACE_SECONDS
from tui.cli.progress_bar import progress_line

STAND_IN = Path(__file__).parents[1] / "helpers" / "stand_in"
PATIENCE = 30.0

QUICK = ("--preset", "quickstart", "--name", "one", "--set")


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment in which stages are stand-ins; what still runs at the end of the test is ended."""
    yield {"STAND_IN": "1", "PYTHONPATH": str(STAND_IN)}
    for process in psutil.process_iter(["cmdline"]):
        if any(str(tmp_path / "runs") in word for word in process.info["cmdline"] or ()):
            process.kill()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def behave(home: Path, text: str) -> None:
    (home / "runs" / "one" / "behaviour.json").write_text(text)


def test_a_run_is_started_watched_and_refused_a_second_time(tmp_path: Path, stand_in: dict[str, str]) -> None:
    """Without behaviour.json the first stage crashes; resumed, it goes through."""
    words = (*QUICK, 'pipeline.stages=["data", "tokenizer"]')
    done = nanosolo(tmp_path, *words, **stand_in)
    assert done.returncode == 5
    assert done.stdout.splitlines()[0].startswith("quickstart: data and tokenizer only, 4–21 s on ")
    assert "tokens per parameter" not in done.stdout
    assert f"run one in {tmp_path}/runs/one" in done.stdout
    assert done.stderr.startswith("error: run one: FileNotFoundError")
    assert len(done.stderr.splitlines()) == 1
    behave(tmp_path, "{}")
    assert "exists already" in nanosolo(tmp_path, *words, **stand_in).stderr
    done = nanosolo(tmp_path, *words, "--resume", **stand_in)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "run one continues"
    assert done.stdout.splitlines()[-1].endswith("run done")  # no report was asked for
    assert "data: crashed" not in done.stdout  # what was seen before is not told again
    again = nanosolo(tmp_path, *words, "--resume", **stand_in)
    assert (again.returncode, "is finished already" in again.stdout) == (0, True)
    other = nanosolo(tmp_path, *words, "--resume", "--set", "model.depth=6", **stand_in)
    assert other.returncode == 2
    assert "was started with model.depth = 4, but 6 is requested now" in other.stderr


def test_every_refusal_names_a_command_that_works_then(tmp_path: Path, stand_in: dict[str, str]) -> None:
    def tried(said: str, *arguments: str) -> str:
        """The way out of a refusal, tried."""
        refused = nanosolo(tmp_path, *arguments, **stand_in)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
        command = refused.stderr.rpartition("nanosolo ")[2].strip()
        done = nanosolo(tmp_path, *command.split(), **(stand_in if command.startswith("resume") else {}))
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return command

    words = (*QUICK, 'pipeline.stages=["data", "tokenizer"]')
    nanosolo(tmp_path, *words, **stand_in)  # crashes: it has no behaviour yet
    behave(tmp_path, "{}")
    other = (*words, "--resume", "--set", "model.depth=6")
    assert tried("Choose another --name", *words) == "runs"
    assert tried("was started with model.depth = 4", *other) == "resume one"
    assert tried("was started with model.depth = 4", *other) == "report one"  # now it is finished
    assert tried("run one is finished", "resume", "one") == "resume one --stages tokenizer"
    assert tried("no checkpoint yet. Train it", "chat", "one").startswith("resume one --stages ")
    run = start_training(tmp_path / "other", stand_in)
    running = nanosolo(tmp_path / "other", *QUICK, "model.depth=6", "--resume", **stand_in)
    assert "follow it: nanosolo attach one" in running.stderr
    assert "Follow it: nanosolo attach one" in nanosolo(tmp_path / "other", "chat", "one", **stand_in).stderr
    assert nanosolo(tmp_path / "other", "stop").returncode == 0
    wait_for(lambda: not run.is_running())


def start_training(home: Path, stand_in: dict[str, str]) -> RunDirectory:
    """A detached run whose one stage trains until it is stopped."""
    words = (*QUICK, 'pipeline.stages=["data"]', "--detach")
    assert nanosolo(home, *words, **stand_in).returncode == 0
    run = RunDirectory(home / "runs" / "one")
    wait_for(lambda: not run.is_running())
    behave(home, '{"data": "train"}')
    done = nanosolo(home, "resume", "one", "--detach", **stand_in)
    assert (done.returncode, "Follow it with: nanosolo attach one" in done.stdout) == (0, True)
    wait_for((run.path / "data.began").exists)
    return run


def test_stop_ends_what_was_left_alone(tmp_path: Path, stand_in: dict[str, str]) -> None:
    run = start_training(tmp_path, stand_in)
    attached = subprocess.Popen(
        (*PROGRAM, "attach"), env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    done = nanosolo(tmp_path, "stop")
    assert (done.returncode, "stops after writing a checkpoint" in done.stdout) == (0, True)
    assert attached.wait(30) == 130
    assert attached.stdout is not None
    assert attached.stdout.read().splitlines()[-1].endswith("run stopped")
    assert not run.is_running()
    assert "stopped" in nanosolo(tmp_path, "runs").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_on_resume_stops_after_a_checkpoint(
    tmp_path: Path, stand_in: dict[str, str], number: signal.Signals
) -> None:
    run = start_training(tmp_path, stand_in)
    assert nanosolo(tmp_path, "stop").returncode == 0
    wait_for(lambda: not run.is_running())
    (run.path / "data.began").unlink()
    following = subprocess.Popen(
        (*PROGRAM, "resume"), env=environment(tmp_path, **stand_in), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for((run.path / "data.began").exists)
    following.send_signal(number)
    assert following.wait(30) == 130
    assert following.stderr is not None and following.stdout is not None
    assert b"Ctrl-C stops the run after a checkpoint. Closing the terminal leaves it running" in following.stdout.read()
    assert b"stopping after a checkpoint" in following.stderr.read()
    assert not run.is_running()


def test_starting_a_run_that_is_under_way_follows_it_and_ctrl_c_leaves_it_running(
    tmp_path: Path, stand_in: dict[str, str]
) -> None:
    run = start_training(tmp_path, stand_in)
    words = (*PROGRAM, *QUICK, 'pipeline.stages=["data"]', "--resume")
    following = subprocess.Popen(
        words, env=environment(tmp_path, **stand_in), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert following.stdout is not None and following.stderr is not None
    assert following.stdout.readline() == "run one is running already\n"
    assert following.stdout.readline() == "Ctrl-C leaves the run running.\n"
    following.send_signal(signal.SIGINT)
    assert following.wait(30) == 0
    assert "Run one continues. Follow it again with: nanosolo attach one" in following.stderr.read()
    assert run.is_running()
    assert nanosolo(tmp_path, "stop", "--now").returncode == 0
    wait_for(lambda: not run.is_running())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_whoever_only_watches_can_go(tmp_path: Path, stand_in: dict[str, str], number: signal.Signals) -> None:
    run = start_training(tmp_path, stand_in)
    watching = subprocess.Popen((*PROGRAM, "attach"), env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.send_signal(number)
    watching.wait(30)
    assert run.is_running()


class Terminal:
    """A terminal of a certain width in which a command runs."""

    def __init__(self, home: Path, width: int, *arguments: str) -> None:
        env = environment(home, TERM="xterm-256color")
        self.process = pexpect.spawn(PROGRAM[0], [*PROGRAM[1:], *arguments], dimensions=(40, width), env=env)
        self.screen = pyte.Screen(width, 40)
        self._stream = pyte.ByteStream(self.screen)

    def lines(self) -> list[str]:
        """What is seen now, without blank lines."""
        try:
            while True:
                self._stream.feed(self.process.read_nonblocking(65536, 0.1))
        except (pexpect.TIMEOUT, pexpect.EOF):
            return [line.rstrip() for line in self.screen.display if line.strip()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_line_that_moves_fits_the_terminal(tmp_path: Path, width: int) -> None:
    now = time.time()
    story = story_of("big", now).steps(620)
    run = write_run(tmp_path, "big", story.until(now))
    with RunLock(run):
        terminal = Terminal(tmp_path, width, "attach", "big")
        wait_for(lambda: any("620/" in line for line in terminal.lines()))
        lines = terminal.lines()
        moving = [line for line in lines if line.startswith("pretrain  ")]
        assert moving == lines[-1:]  # one line, at the foot
        assert "───" in moving[0]
        assert "loss 4." in moving[0]
        assert len(moving[0]) < width
        assert any("val_bpb" in line for line in lines)
        terminal.process.sendintr()
        wait_for(lambda: any("Run big continues" in line for line in terminal.lines()))
        terminal.process.wait()
        assert terminal.process.exitstatus == os.EX_OK


def test_the_last_words_stand_alone(tmp_path: Path) -> None:
    now = time.time()
    story = story_of("big", now, budget__steps=60).steps(60).end_stage("pretrain")
    run = write_run(tmp_path, "big", story.until(now))
    with RunLock(run):
        terminal = Terminal(tmp_path, 80, "attach", "big")
        wait_for(lambda: any("pretrain: done" in line for line in terminal.lines()))
        log = EventLog(run.events_file)
        log.write(RunEnded(outcome="done", exit_code=0))
    wait_for(lambda: not terminal.process.isalive())
    assert terminal.lines()[-1] == "run done"
    assert not any("60/60  loss" in line for line in terminal.lines())


def test_a_run_on_another_machine_is_followed(tmp_path: Path) -> None:
    """Its lock says nothing here; that it writes does."""
    story = story_of("far", time.time(), budget__steps=60).steps(30)
    first = story.events[0]
    story.events[0] = msgspec.structs.replace(first, host="far-away")
    run = write_run(tmp_path, "far", story.until(time.time()))
    watching = subprocess.Popen((*PROGRAM, "attach"), env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    while "step 30/60" not in watching.stdout.readline():
        assert watching.poll() is None
    time.sleep(GRACE_SECONDS + 0.5)
    assert watching.poll() is None
    log = EventLog(run.events_file)
    log.write(RunEnded(outcome="done", exit_code=0))
    assert watching.wait(PATIENCE) == 0


def test_figures_leave_from_the_end_when_there_is_no_room() -> None:
    figures = ["620/19101", "loss 4.0438", "17 h 37 m left", "77.0k tokens/s", "MFU 34 %", "6.5 GiB"]
    assert progress_line("pretrain", 0.5, figures, 79) == (
        "pretrain  ━━━━━━───────  620/19101  loss 4.0438  17 h 37 m left  77.0k tokens/s"
    )
    for width in range(1, 200):
        line = progress_line("pretrain", 0.5, figures, width)
        assert len(line) <= width
        assert ("6.5 GiB" in line) == (width >= 93)
    assert progress_line("data", None, ["started"], 40) == "data  started"
    assert progress_line("data", 7.0, [], 20) == "data  ━━━━━━━━━━━━━━"
    assert progress_line("data", -1.0, [], 20) == "data  ──────────────"
