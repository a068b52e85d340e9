"""The Monitor with hostile events, odd sizes, damage and plain terminals."""

import os
import time
from pathlib import Path

import pytest

from engine.events.kinds import Diverged, RunStarted
from tests.helpers.console_home import use_home
from tests.helpers.made_run import story_of, write_run
from tests.helpers.run_screens import console_on, finished, put, shows, stopped, until
from tests.helpers.snapshot import text_of
from tui.widgets.lines import Lines
from tui.widgets.run_chart import RunChart


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


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
