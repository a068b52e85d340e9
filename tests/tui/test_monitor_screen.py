"""The Monitor, driven by its keys on runs of every kind, at 80x24 and wider."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.events.history import StageView
from tests.helpers.console_home import use_home
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.made_run import story_of
from tests.helpers.run_screens import SIZES, console_on, finished, out_of_memory, put, shows, stopped, until
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.screens.monitor import MonitorScreen
from tui.screens.oom_doctor import OomDoctor
from tui.widgets.run_chart import RunChart
from tui.widgets.text_dialog import ReadingScreen


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_finished_run(home: Path, size: tuple[int, int]) -> None:
    (run,) = put(home, ("red", finished()))
    app = console_on(run)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "finished, 600 steps", "✓ report")
        await matches_snapshot(pilot, f"monitor-finished-{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_nothing_is_watched(size: tuple[int, int]) -> None:
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        await shows(pilot, "No run is selected.")
        await pilot.press("y", "a", "p", "m", "c", "x", "r")  # nothing to act on
        await pilot.pause()
        assert isinstance(app.screen, MonitorScreen)
        await matches_snapshot(pilot, f"monitor-nothing-{size[0]}x{size[1]}")


async def test_a_last_word_on_the_run_before_is_not_taken_for_this_one(home: Path) -> None:
    before, now = put(home, ("red", out_of_memory("red")), ("blue", finished("blue")))
    app = console_on(before)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "red ran out of memory")
        await pilot.press("escape")
        screen = app.screen
        assert isinstance(screen, MonitorScreen) and screen.watcher is not None and screen.news is not None
        tell, news = screen.watcher._tell, screen.news
        app.watched = now
        await shows(pilot, "finished, 600 steps")
        tell(news)
        await pilot.pause()
        assert screen.news.state == "finished"


async def test_what_is_shown_is_read_while_nobody_writes(home: Path) -> None:
    (run,) = put(home, ("red", finished()))
    app = console_on(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "finished, 600 steps")
        screen = app.screen
        assert isinstance(screen, MonitorScreen) and screen.watcher is not None
        history, lock = screen.watcher.history, screen.watcher.lock
        held: list[bool] = []

        class Watched(dict[str, StageView]):
            def __iter__(self) -> Iterator[str]:
                held.append(lock._is_owned())  # type: ignore[attr-defined]
                return super().__iter__()

        history.stages = Watched(history.stages)
        screen._show_all()
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert len(held) > 1 and all(held)


async def test_a_live_run_moves(home: Path, tmp_path: Path) -> None:
    (run,) = put(home, ("red", story_of("red", time.time()).until(time.time())))
    with FakeRunner(run, tmp_path) as runner:
        app = console_on(run)
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            await shows(pilot, "● running, step", "last step", " left")
            chart = app.screen.query_one("#main", RunChart)
            seen = len(chart.model.layers[0].series)
            await until(pilot, lambda: len(chart.model.layers[0].series) > seen + 5)
            await pilot.press("c")
            await shows(pilot, "red: writing a checkpoint", "▪ checkpoint")
            await pilot.press("x")
            await shows(pilot, "Stop red?", "After a checkpoint")
            await pilot.press("escape")
            assert runner.process.poll() is None
            await pilot.press("x")
            await shows(pilot, "Stop red?")
            await pilot.press("enter")
            await shows(pilot, "○ stopped after step")
            assert runner.process.wait(20) == 0


async def test_stop_now(home: Path, tmp_path: Path) -> None:
    (run,) = put(home, ("red", story_of("red", time.time()).until(time.time())))
    with FakeRunner(run, tmp_path) as runner:
        app = console_on(run)
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            await shows(pilot, "● running, step")
            await pilot.press("x")
            await shows(pilot, "Stop red?")
            await pilot.press("down", "enter")
            await until(pilot, lambda: runner.process.poll() is not None)
            await shows(pilot, "✖ failed")


async def test_keys_that_the_state_forbids_do_nothing(home: Path) -> None:
    (run,) = put(home, ("red", finished()))
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shows(pilot, "finished, 600 steps")
        await pilot.press("x", "c", "r", "o")
        await pilot.pause()
        assert isinstance(app.screen, MonitorScreen)
        assert "x stop" not in text_of(app) and "r resume" not in text_of(app)


async def test_resuming_what_cannot_be_resumed_says_why(home: Path) -> None:
    (run,) = put(home, ("red", stopped()))  # it asks for an A100, which is not here
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shows(pilot, "○ stopped after step 300", "r resume")
        await pilot.press("r")
        await shows(pilot, "Error")


async def test_metrics_take_turns_in_the_large_chart(home: Path) -> None:
    (run,) = put(home, ("red", finished()))
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shows(pilot, "finished, 600 steps")
        chart = app.screen.query_one("#main", RunChart)
        titles = []
        for _ in range(6):
            await pilot.press("m")
            await pilot.pause()
            titles.append(chart.model.title)
            assert len(chart.model.layers) == 1 and len(chart.model.layers[0].series)
            assert chart.model.events
        expected = ["validation, bits per byte", "tokens per second", "MFU", "gradient norm", "seconds per step"]
        assert titles == [*expected, "loss"]


async def test_rewards_are_what_is_watched_of_rl(home: Path) -> None:
    story = finished(end=False).stage("rl").device("rl").rewards(40)
    (run,) = put(home, ("red", story.until(time.time())))
    app = console_on(run)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await shows(pilot, "pass@1", "reward", "What is 3 + 4?")
        screen = app.screen
        assert isinstance(screen, MonitorScreen)
        chart = screen.query_one("#main", RunChart)
        assert chart.model.title == "reward, mean of a step's answers"
        assert list(screen.feed.reward.xs[0]) == [float(step) for step in range(1, 41)]
        assert list(screen.feed.validation.xs[0]) == [0.0, 20.0, 40.0]
        assert screen.findings == []
        titles = []
        for _ in range(7):
            await pilot.press("m")
            await pilot.pause()
            titles.append(chart.model.title)
        assert titles[0] == "right answers to held-out problems" and titles[-2:] == [
            "loss",
            "reward, mean of a step's answers",
        ]


async def test_chart_keys_work_at_once(home: Path) -> None:
    (run,) = put(home, ("red", finished()))
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shows(pilot, "finished, 600 steps")
        chart = app.screen.query_one("#main", RunChart)
        await pilot.press("left", "plus", "X", "l", "s")
        await pilot.pause()
        assert chart.model.cursor is not None
        assert chart.model.axis == 1 and chart.model.log_y and chart.model.views
        assert "tokens" in text_of(app)
        await pilot.press("escape")
        await pilot.pause()
        assert chart.model.cursor is None
        assert isinstance(app.screen, MonitorScreen)


async def test_advice_and_samples_are_read_in_full(home: Path) -> None:
    story = story_of("red", time.time(), budget__steps=2000, evaluate__sample_every_steps=100).steps(400)
    (run,) = put(home, ("red", story.end_stage("pretrain").end().until(time.time() - 60)))
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shows(pilot, "finished, 400 steps", "tokens per parameter")
        await pilot.press("a")
        await shows(pilot, "tokens per parameter; compute-optimal", "--set budget.steps=", "Predicted and measured")
        await pilot.press("escape", "p")
        await shows(pilot, "Samples of step 400", "a city on the river Seine")
        assert isinstance(app.screen, ReadingScreen)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, MonitorScreen)


async def test_copy_writes_what_is_shown(home: Path) -> None:
    (run,) = put(home, ("red", finished()))
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shows(pilot, "finished, 600 steps")
        await pilot.press("y")
        await shows(pilot, "Copied")
    text = (home / "copied.txt").read_text()
    assert text.startswith("red: finished, 600 steps")
    assert "val bpb: " in text and str(run.path) in text


async def test_the_doctor_opens_by_itself_and_once(home: Path) -> None:
    (run,) = put(home, ("full", out_of_memory()))
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))
        await shows(pilot, "full ran out of memory")
        await pilot.press("escape")
        await shows(pilot, "✖ failed after step 64: out of GPU memory")
        await pilot.press("4", "3")
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen))
        await pilot.press("o")
        await pilot.pause()
        assert isinstance(app.screen, OomDoctor)


async def test_the_doctor_opens_when_a_watched_run_runs_out(home: Path) -> None:
    story = story_of("full", time.time()).steps(30)
    (run,) = put(home, ("full", story))
    app = console_on(run)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "· step 30")
        before = len(story.events)
        story.out_of_memory()
        with run.events_file.open("ab") as file:
            file.write(b"".join([*story.lines()][before:]))
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))
