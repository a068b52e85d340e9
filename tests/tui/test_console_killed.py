"""A console that is killed leaves the run alone, and the next one shows everything since the start."""

import os
import signal
import sys
import time
from pathlib import Path

import pexpect

from engine.events.history import read_history
from engine.run.directory import RunDirectory
from tests.helpers.console_home import use_home
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.made_run import story_of
from tests.helpers.run_screens import console_on, put, shows, until
from tui.widgets.run_chart import RunChart

PATIENCE = 60.0


def open_console(home: Path, run: RunDirectory) -> "pexpect.spawn[bytes]":
    environment = {**os.environ, "NANOSOLO_HOME": str(home), "NANOSOLO_CONFIG": str(home / "none.toml")}
    environment |= {"TERM": "xterm-256color"}
    code = f"from tui.app import run_console; raise SystemExit(run_console(watch={run.name!r}))"
    return pexpect.spawn(sys.executable, ["-c", code], env=environment, dimensions=(24, 80), timeout=PATIENCE)


def last_step(run: RunDirectory) -> int:
    columns = read_history(run.events_file).columns("pretrain")
    return columns.step[-1] if len(columns) else 0


def wait_beyond(run: RunDirectory, step: int) -> int:
    deadline = time.monotonic() + PATIENCE
    while (now := last_step(run)) <= step:
        assert time.monotonic() < deadline, "the run stands still"
        time.sleep(0.05)
    return now


async def test_kill_9_of_consoles_while_a_run_goes_on(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    home = tmp_path / "home"
    use_home(monkeypatch, home)
    (run,) = put(home, ("red", story_of("red", time.time()).until(time.time())))
    with FakeRunner(run, tmp_path, seconds=0.05) as runner:
        consoles = [open_console(home, run) for _ in range(2)]  # two may watch one run
        for console in consoles:
            console.expect(b"running,")
        seen = last_step(run)
        for console in consoles:
            os.kill(console.pid, signal.SIGKILL)
            console.wait()
        after = wait_beyond(run, wait_beyond(run, seen) + 5)
        assert runner.process.poll() is None
        app = console_on(run)
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, "running, step")
            chart = app.screen.query_one("#main", RunChart)
            await until(pilot, lambda: len(chart.model.layers[0].series) >= after)
            steps = list(chart.model.layers[0].series.xs[0])
            assert steps == [float(i) for i in range(1, len(steps) + 1)]  # from the first one on, without a gap
