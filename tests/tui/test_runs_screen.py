"""The Runs screen: every kind of run is listed with its state, opened, marked, compared, acted on."""

import os
import re
import shutil
import socket
import time
from pathlib import Path

import pytest

from engine.core.errors import NanosoloError
from engine.events.kinds import RunStarted
from engine.run.directory import RunDirectory
from tests.helpers.console_home import use_home
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.made_run import story_of
from tests.helpers.run_screens import console_on, finished, out_of_memory, put, shows, stopped, until
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.screens.compare import CompareScreen
from tui.screens.logs import LogsScreen
from tui.screens.monitor import MonitorScreen
from tui.screens.oom_doctor import OomDoctor
from tui.screens.runs import RunList, RunsScreen


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


def all_kinds(home: Path) -> None:
    away = story_of("away", time.time()).steps(40).begun(time.time() - 172_830)
    away.events[0] = RunStarted(
        name="away", version="0.1.0", host=f"not-{socket.gethostname()}", pid=1, t=away.events[0].t
    )
    killed = story_of("killed", time.time()).steps(90).begun(time.time() - 259_230)
    full = out_of_memory().begun(time.time() - 36_030)
    put(home, ("away", away), ("killed", killed), ("red", finished()), ("rest", stopped()), ("full", full))
    torn, newer, lost = (home / "runs" / name for name in ("torn", "newer", "lost"))
    for folder in (torn, newer, lost):
        folder.mkdir()
    (torn / "run.toml").write_text("depth = [")
    (newer / "run.toml").write_text("[model]\nflux = 3\n")
    (newer / "events.jsonl").write_text('{"v":2,"t":1,"kind":"run_began"}\n' * 9)
    (lost / "events.jsonl").write_text("")
    for folder in (torn, newer, lost):
        for path in (*folder.iterdir(), folder):
            os.utime(path, (time.time() - 90_030,) * 2)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_every_kind_of_run(home: Path, size: tuple[int, int]) -> None:
    all_kinds(home)
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        await shows(pilot, "8 runs", "finished", "stopped", "elsewhere", "damaged", "killed")
        await pilot.press("g")
        await pilot.pause()
        await matches_snapshot(pilot, f"runs-{size[0]}x{size[1]}", without="last event")
        said = {}
        for _ in range(8):
            screen = app.screen
            assert isinstance(screen, RunsScreen) and screen.chosen is not None
            said[screen.chosen.run.name] = screen.chosen.status.text
            await pilot.press("down")
            await pilot.pause()
        assert "not valid TOML" in said["torn"]
        assert "model.flux" in said["newer"]
        assert "cannot read run.toml" in said["lost"]
        assert "the runner exited unexpectedly" in said["killed"]
        assert "last event from not-" in said["away"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_runs_yet(home: Path, size: tuple[int, int]) -> None:
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        await shows(pilot, "No runs yet.", "quickstart")
        await pilot.press("enter", "space", "v", "o", "x", "c", "r", "down")
        await pilot.pause()
        assert isinstance(app.screen, RunsScreen)
        await matches_snapshot(pilot, f"runs-none-{size[0]}x{size[1]}", without="Runs are stored in")


async def test_long_names_are_told_apart_and_nothing_wraps(home: Path) -> None:
    names = [f"conservative-20261123-{minute}" for minute in (1405, 1406)]
    put(home, *((name, stopped(name, 20)) for name in names))
    for width in (100, 80, 60, 40):
        app = console_on(None)
        async with app.run_test(size=(width, 24)) as pilot:
            await pilot.press("4")
            await shows(pilot, "1405 ", "1406 ")
            assert app.screen.query_one(RunList).virtual_size.height == 2  # rows


async def test_a_folder_that_cannot_be_read_is_told_and_hides_no_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(home, ("red", stopped("red", 20)))
    (home / "runs" / "elsewhere").symlink_to("x" * 300)  # a path that cannot even be looked at
    app = console_on(None)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("4")
        await shows(pilot, "1 run,", "red")

        def refuse() -> list[RunDirectory]:
            raise NanosoloError("cannot read the runs")

        monkeypatch.setattr("engine.run.summary.list_runs", refuse)
        await shows(pilot, "cannot read the runs", "red")


async def test_enter_watches_and_o_reads_the_log(home: Path) -> None:
    _, run = put(home, ("rest", stopped()), ("red", finished()))
    run.log_file.write_text("first line\n")
    app = console_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await shows(pilot, "finished", "stopped")
        await pilot.press("down", "enter")
        await shows(pilot, "○ stopped after step 300")
        assert isinstance(app.screen, MonitorScreen)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("up", "o")
        await shows(pilot, "first line")
        assert isinstance(app.screen, LogsScreen)


async def test_two_to_four_runs_are_marked_and_compared(home: Path) -> None:
    put(home, *[(name, stopped(name, 20)) for name in ("a", "b", "c", "d", "e")])
    app = console_on(None)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("4")
        await shows(pilot, "5 runs")
        await pilot.press("v")
        await shows(pilot, "Mark two to four runs")
        await pilot.press("space", "space", "space", "space", "space")
        await shows(pilot, "4 runs can be compared")
        assert app.screen.marked == ["e", "d", "c", "b"]  # type: ignore[attr-defined]
        await pilot.press("up", "space")
        await shows(pilot, "marked for comparison: e, d, c")
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        assert app.compared == ("e", "d", "c")


async def test_a_live_run_is_found_and_stopped_from_the_list(home: Path, tmp_path: Path) -> None:
    live, *_ = put(home, ("live", story_of("live", time.time()).until(time.time())), ("red", finished()))
    with FakeRunner(live, tmp_path) as runner:
        app = console_on(None)
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            await pilot.press("4")
            await shows(pilot, "running", "1 running")
            assert app.screen.query_one(RunList).chosen == "live"  # not the newest, but the running one
            await pilot.press("c")
            await shows(pilot, "live: writing a checkpoint")
            await pilot.press("x")
            await shows(pilot, "Stop live?")
            await pilot.press("enter")
            await until(pilot, lambda: runner.process.poll() == 0)
            await shows(pilot, "0 running")


async def test_a_run_that_comes_and_one_that_goes(home: Path) -> None:
    put(home, ("red", finished()))
    app = console_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await shows(pilot, "1 run,")
        put(home, ("blue", stopped("blue")))
        await shows(pilot, "2 runs,", "blue")
        shutil.rmtree(home / "runs" / "red")
        await shows(pilot, "1 run,")


async def test_opening_a_run_that_ran_out_of_memory_opens_the_doctor(home: Path) -> None:
    put(home, ("full", out_of_memory()))
    app = console_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await shows(pilot, "full")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_loss_of_fine_tuning_is_not_taken_for_that_of_pretraining(home: Path, size: tuple[int, int]) -> None:
    tuned = finished(end=False).stage("sft").steps(1, stage="sft", evaluations=False, loss=0.16).end_stage("sft")
    put(home, ("tuned", tuned.end()), ("plain", finished()))
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        await shows(pilot, "2 runs", "tuned", "plain")
        rows = [line for line in text_of(app).splitlines() if re.search("(tuned|plain) .*finished", line)]
        assert len(rows) == 2 and [" sft 0.1600 " in row for row in rows] == ["tuned" in row for row in rows]
