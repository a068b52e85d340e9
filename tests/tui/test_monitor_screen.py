"""The Monitor, driven by its keys on runs of every kind, at 80x24 and wider."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.events.history import StageView
from engine.events.kinds import Diverged, RunStarted
from tests.helpers.console_home import use_home
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.made_run import story_of, write_run
from tests.helpers.run_screens import SIZES, console_on, finished, out_of_memory, put, shows, stopped, until
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.screens.monitor import MonitorScreen
from tui.screens.oom_doctor import OomDoctor
from tui.widgets.lines import Lines
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
        await shows(pilot, "No run is watched.")
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


async def test_hostile_events_are_told_and_survived(home: Path) -> None:
    story = stopped()
    (run,) = put(home, ("red", story))
    with run.events_file.open("ab") as file:
        file.write(
            b'\x1b]0;owned\x07 not json\n{"kind":"step","step":"many"}\n{"v":7,"t":0,"kind":"unheard_of"}\n{"kin'
        )
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shows(pilot, "3 lines of events.jsonl left out", "○ stopped after step 300")
        run.events_file.unlink()
        await shows(pilot, "events.jsonl was deleted")
        assert "stopped after step 300" in text_of(app)
        fresh = story_of("red", time.time()).steps(5).end_stage("pretrain", "stopped").end("stopped")
        run.events_file.write_bytes(b"".join(fresh.lines()))
        await shows(pilot, "stopped after step 5", "has been read again")


async def test_what_a_model_or_a_log_wrote_does_not_steer_the_terminal(home: Path) -> None:
    story = story_of("red", time.time()).steps(20)
    story.sample()
    story.events[-1] = type(story.events[-1])(  # type: ignore[call-arg]
        stage="pretrain", step=20, prompt="Say", text=" \x1b[2J\x1b]0;owned\x07 and [bold]this[/bold]", t=story.now
    )
    story.end_stage("pretrain", "crashed").end("crashed", "bad \x1b[31m[red]thing")
    (run,) = put(home, ("red", story.until(time.time() - 5)))
    app = console_on(run)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "failed after step 20", "and [bold]this[/bold]")
        assert "\x1b" not in text_of(app) and "\x07" not in text_of(app)
        await pilot.press("p")
        await shows(pilot, "Samples of step 20")
        assert "\x1b" not in text_of(app)


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (120, 40), (60, 50), (220, 15)])
async def test_odd_sizes_and_an_empty_run(home: Path, size: tuple[int, int]) -> None:
    (run,) = put(home, ("red", story_of("red", time.time()).until(time.time() - 5)))
    app = console_on(run)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "failed")
        await pilot.resize_terminal(30, 8)
        await pilot.resize_terminal(100, 30)
        await shows(pilot, "failed: the runner exited unexpectedly")


async def test_other_hosts_damage_and_divergence(home: Path) -> None:
    away = stopped("away")
    away.events = [
        RunStarted(name="away", version="0.1.0", host="gpu-7", pid=1, t=away.events[0].t),
        *away.events[1:-2],
    ]
    gone = story_of("gone", time.time()).steps(20)
    gone.add(Diverged, stage="pretrain", step=20, what="loss is NaN", action="stop")
    gone.end_stage("pretrain", "diverged").end("diverged", "loss is NaN").until(time.time() - 9)
    runs = put(home, ("away", away), ("gone", gone))
    damaged = home / "runs" / "torn"
    damaged.mkdir()
    (damaged / "run.toml").write_text("depth = [")
    for run, words in ((runs[0], "last event from gpu-7"), (runs[1], "diverged at step 20")):
        app = console_on(run)
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            await shows(pilot, words)
    app = console_on(type(runs[0])(damaged))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shows(pilot, "✖ damaged:", "not valid TOML")


async def test_only_rows_that_changed_are_painted() -> None:
    app = console_on(None)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("3")
        lines = app.screen.query_one("#empty", Lines)
        from textual.content import Content

        first = [Content("a"), Content("b"), Content.styled("c", "bold")]
        lines.show(lambda width, height: first)
        await pilot.pause()
        before = dict(lines._strips)
        lines.show(lambda width, height: [Content("a"), Content("B"), Content.styled("c", "bold")])
        assert lines._strips.get(0) is before[0] and 1 not in lines._strips and lines._strips.get(2) is before[2]
        lines.show(lambda width, height: [Content("a"), Content("B"), Content("c")])
        assert 2 not in lines._strips


async def test_ascii_has_no_other_characters(home: Path) -> None:
    from tui.app import NanosoloApp

    (run,) = put(home, ("red", finished()))
    app = NanosoloApp(watch=run, ascii_only=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "finished, 600 steps" in text_of(app))
        await pilot.pause(0.2)
        chart = app.screen.query_one("#main", RunChart)
        assert chart.plot.ascii_only
        assert all(line.isascii() for line in chart.plot.canvas.lines())


def test_the_folder_of_runs_is_the_homes(home: Path) -> None:
    assert os.environ["NANOSOLO_HOME"] == str(home)
    assert write_run(home, "x", stopped("x", 2)).path == home / "runs" / "x"


async def test_small_charts_shorten_words_and_no_figures(home: Path) -> None:
    (run,) = put(home, ("red", finished(steps=2939)))
    app = console_on(run)
    async with app.run_test(size=(160, 45)) as pilot:
        await shows(pilot, "tok/s  ")
        titles = next(line for line in text_of(app).splitlines() if "tok/s  " in line)
        assert titles.count("· step 2,9") == 3 and "…" not in titles
