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

PATIENCE = 60.0  # seconds until a wait is called a failure; nothing here depends on how long anything takes


class Terminal:
    """The console in a pseudo-terminal."""

    def __init__(self, home: Path) -> None:
        environment = {
            **os.environ,
            "NANOSOLO_HOME": str(home),
            "NANOSOLO_CONFIG": str(home / "config.toml"),
            "TERM": "xterm-256color",
        }
        code = "from tui.app import run_console; raise SystemExit(run_console())"
        self.child = pexpect.spawn(
            sys.executable, ["-c", code], env=environment, dimensions=(24, 80), timeout=PATIENCE, encoding=None
        )
        self.before = termios.tcgetattr(self.child.child_fd)
        self.process = psutil.Process(self.child.pid)

    def painted(self) -> None:
        self.child.expect(b"quickstart")

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
    if not made.child.ptyproc.terminated and made.process.is_running():
        made.process.kill()
        made.child.wait()


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
