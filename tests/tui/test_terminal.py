"""The console on a real terminal: first paint, leaving, hang-up, SIGTERM, and a terminal that stops reading."""

import os
import signal
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import psutil
import pytest

from tests.helpers.made_run import story_of, write_run

PATIENCE = 60.0  # seconds until a wait is called a failure; nothing here depends on how long anything takes


class Terminal:
    """The console in a pseudo-terminal."""

    def __init__(self, home: Path, before: str = "", arguments: str = "") -> None:
        """`before`: statements that run before the console is opened."""
        environment = {
            **os.environ,
            "NANOSOLO_HOME": str(home),
            "NANOSOLO_CONFIG": str(home / "config.toml"),
            "TERM": "xterm-256color",
        }
        code = f"{before}\nfrom tui.app import run_console; raise SystemExit(run_console({arguments}))"
        self.child = pexpect.spawn(
            sys.executable, ["-c", code], env=environment, dimensions=(24, 80), timeout=PATIENCE, encoding=None
        )
        self.before = termios.tcgetattr(self.child.child_fd)
        self.process = psutil.Process(self.child.pid)

    def painted(self) -> None:
        self.child.expect(b"quickstart")

    def close(self) -> None:
        """Kill what has not ended."""
        if not self.child.ptyproc.terminated and self.process.is_running():
            self.process.kill()
            self.child.wait()

    def end(self) -> int:
        """Wait for the end of the process; its exit status, negative for a signal."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.child.pid, os.WNOHANG)
            if pid:
                self.child.ptyproc.terminated = True
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        raise AssertionError("the console did not end")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    made.close()


def test_q_leaves_and_the_terminal_is_as_before(terminal: Terminal) -> None:
    terminal.painted()
    assert termios.tcgetattr(terminal.child.child_fd) != terminal.before
    terminal.child.send(b"q")
    terminal.child.expect(b"\x1b\\[\\?1049l")
    terminal.child.expect(pexpect.EOF)
    assert terminal.end() == 0


def test_leaving_says_how_the_edits_on_plan_come_back(terminal: Terminal) -> None:
    terminal.painted()
    terminal.child.send(b"jj\x1b[C")
    terminal.child.expect(b"1 edited")
    terminal.child.send(b"q")
    terminal.child.expect(b"\x1b\\[\\?1049l")
    terminal.child.expect(b"nanosolo --preset quickstart --set ")
    terminal.child.expect(pexpect.EOF)
    assert terminal.end() == 0


# what a disk that does not answer holds up, and the keys that ask for it, with what is seen between them
STUCK: dict[str, tuple[str, *tuple[bytes, ...]]] = {
    "runs": ("import engine.run.summary as m; m.SummaryReaders.look = stuck", b"4"),
    "log": ("import tui.runs.log_file as m; m.LogFile.update = stuck", b"6"),
    "search": (
        "import tui.runs.log_file as m; m.LogFile.find = stuck",
        b"6",
        b"engine.log",
        b"/",
        b"Enter find",
        b"loss\r",
    ),
    "review": ("import engine.launch.prepare as m; m.prepare = stuck", b"2"),
}


@pytest.mark.parametrize("what", STUCK)
def test_leaving_does_not_wait_for_what_is_only_read(what: str, tmp_path: Path) -> None:
    statement, *typed = STUCK[what]
    run = write_run(tmp_path, "demo", story_of("demo", 1_700_000_000.0).start("demo"))
    run.log_file.write_text("some lines\n")
    asked = tmp_path / "asked"
    stuck = f"import threading, pathlib\ndef stuck(*_): pathlib.Path({str(asked)!r}).touch(); threading.Event().wait()"
    terminal = Terminal(tmp_path, f"{stuck}\n{statement}", 'watch="demo"')
    try:
        terminal.child.expect(b"Monitor")
        for keys, seen in zip(typed[::2], [*typed[1::2], b""], strict=True):
            terminal.child.send(keys)
            terminal.child.expect_exact(seen)
        deadline = time.monotonic() + PATIENCE
        while not asked.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert asked.exists()
        terminal.child.send(b"q")
        terminal.child.expect(pexpect.EOF)
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_sigterm_leaves_in_order(terminal: Terminal) -> None:
    terminal.painted()
    os.kill(terminal.child.pid, signal.SIGTERM)
    terminal.child.expect(b"\x1b\\[\\?1049l")
    terminal.child.expect(pexpect.EOF)
    assert terminal.end() == 128 + signal.SIGTERM


def test_a_hang_up_ends_the_console(terminal: Terminal) -> None:
    terminal.painted()
    os.close(terminal.child.child_fd)  # the connection is gone: the kernel sends SIGHUP
    assert terminal.end() in (128 + signal.SIGHUP, 1)
    terminal.child.ptyproc.fd = terminal.child.child_fd = -1
    terminal.child.closed = terminal.child.ptyproc.closed = True


def test_a_terminal_that_stops_reading_blocks_only_the_console_and_sigterm_still_ends_it(terminal: Terminal) -> None:
    terminal.painted()
    # nobody reads from here on; every key repaints, until the terminal's buffer and Textual's queue are full
    for number in range(1, 4000):
        os.write(terminal.child.child_fd, b"jk")
        time.sleep(0.002)
        if number % 100 == 0 and _is_stalled(terminal):
            break
    os.kill(terminal.child.pid, signal.SIGTERM)
    assert terminal.end() == 128 + signal.SIGTERM
    assert termios.tcgetattr(terminal.child.child_fd)[3] == terminal.before[3]  # echo and line mode are back


def _is_stalled(terminal: Terminal) -> bool:
    """Whether it does nothing though keys are waiting."""
    before = terminal.process.cpu_times().user
    time.sleep(0.1)
    return terminal.process.cpu_times().user == before
