"""The Compare screen, and the arithmetic of equal tokens and equal time."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events.kinds import Evaluation
from tests.helpers.console_home import use_home
from tests.helpers.made_run import Story, config_of
from tests.helpers.run_screens import console_on, finished, put, shows, stopped, until
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.app import NanosoloApp
from tui.chart.series import Series
from tui.runs.comparison import TIME, TOKENS, differences, standings
from tui.screens.compare import METRICS, CompareScreen
from tui.screens.runs import RunsScreen
from tui.widgets.run_chart import RunChart
from tui.widgets.text_dialog import ReadingScreen


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


def two(home: Path) -> None:
    put(home, ("red", finished("red", steps=200)), ("blue", finished("blue", steps=150, optim__matrix_lr=0.01)))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_two_runs(home: Path, size: tuple[int, int]) -> None:
    two(home)
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("5")
        await shows(pilot, "blue", "red", "optim.matrix_lr", "budget.steps", "tokens", "after")
        await until(pilot, lambda: all(len(layer.series) for layer in app.screen.query_one(RunChart).model.layers))
        await matches_snapshot(pilot, f"compare-{size[0]}x{size[1]}")


def tuned(name: str) -> Story:
    """A run whose fine-tuning made some steps of 90."""
    story = finished(name, steps=100, end=False).stage("sft")
    story.step, story.tokens = 0, 0
    story.steps(30, stage="sft", steps=90, evaluations=False)
    return story.add(Evaluation, 1.0, stage="sft", step=30, metric="val_loss", value=0.4575, seconds=1.0)


@pytest.mark.parametrize(
    ("others", "loss", "validation"),
    [
        ("pretrained", "loss", "validation, bits per byte"),
        ("tuned", "sft: loss", "sft: validation, nats per token"),
    ],
)
async def test_only_steps_of_one_stage_are_compared(home: Path, others: str, loss: str, validation: str) -> None:
    put(home, ("red", tuned("red")), ("blue", tuned("blue") if others == "tuned" else finished("blue", steps=150)))
    app = console_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        chart = app.screen.query_one(RunChart).model
        await until(
            pilot,
            lambda: chart.title == f"{loss}, lower is better" and all(len(layer.series) for layer in chart.layers),
        )
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        assert {side.feed.stage for side in screen.sides} == {"sft" if others == "tuned" else "pretrain"}
        assert f" {loss}, lower is better  " in text_of(app)
        await pilot.press("m")
        await shows(pilot, f" {validation}, lower is better  ")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_nothing_to_compare(home: Path, size: tuple[int, int]) -> None:
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("5")
        await shows(pilot, "Nothing to compare yet")
        await pilot.press("m", "y", "d")
        await pilot.press("escape")
        await pilot.pause()
        await matches_snapshot(pilot, f"compare-nothing-{size[0]}x{size[1]}")


async def test_its_keys(home: Path) -> None:
    two(home)
    app = console_on(None)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("5")
        await shows(pilot, "blue", "optim.matrix_lr")
        chart = app.screen.query_one(RunChart)
        for title, _, _ in [*METRICS.values()][1:]:
            await pilot.press("m")
            await pilot.pause()
            assert chart.model.title.removesuffix(", lower is better") == title
            assert [layer.name for layer in chart.model.layers] == ["blue", "red"]
        await pilot.press("m", "X")
        await pilot.pause()
        assert chart.model.axis == 1
        await pilot.press("d")
        await shows(pilot, "Settings that differ")
        assert isinstance(app.screen, ReadingScreen)
        await pilot.press("escape", "y")
        await shows(pilot, "Copied")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
    text = (home / "compared.txt").read_text()
    assert "optim.matrix_lr" in text and "blue" in text


async def test_a_second_run_is_taken_in_once_there_is_one(home: Path) -> None:
    put(home, ("red", finished("red", steps=200)))
    app = console_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await shows(pilot, "Nothing to compare yet")
        put(home, ("blue", finished("blue", steps=150)))
        await pilot.press("4", "5")
        await shows(pilot, "blue", "red", "tokens", "after")


async def test_in_ascii_the_table_has_the_signs_of_the_lines(home: Path) -> None:
    two(home)
    app = NanosoloApp(ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await shows(pilot, "* blue", "o red")


async def test_a_run_that_is_gone_is_told(home: Path) -> None:
    two(home)
    app = console_on(None)
    app.compared = ("gone", "red")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("5")
        await shows(pilot, "no run gone")
        assert isinstance(app.screen, CompareScreen)


async def test_leaving_out_a_damaged_configuration(home: Path) -> None:
    runs = put(home, ("red", stopped("red", 20)), ("blue", stopped("blue", 20)))
    runs[0].config_file.write_text("[model]\ndepth = 0\n")
    app = console_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await shows(pilot, "red", "blue")
        assert "None. The runs have the same settings." in text_of(app)


def line(points: list[tuple[float, float, float]]) -> Series:
    """(value, tokens, seconds) of each step."""
    series = Series(3)
    for step, (value, tokens, seconds) in enumerate(points, 1):
        series.append(value, step, tokens, seconds)
    return series


def test_equal_tokens_and_equal_time_are_different_places() -> None:
    slow = line([(5.0, 100, 10), (4.0, 200, 20), (3.0, 300, 30)])
    fast = line([(5.5, 150, 5), (4.5, 300, 10), (3.5, 450, 15)])
    by_tokens, by_time = (standings([slow, fast], axis, 0.0) for axis in (TOKENS, TIME))
    assert by_tokens.at == 300
    assert [s.value for s in by_tokens.standings] == [3.0, 4.5]
    assert [s.delta for s in by_tokens.standings] == [0.0, 1.5]
    assert by_time.at == 15
    assert [s.value for s in by_time.standings] == [5.0, 3.5]


values = st.lists(st.floats(0.1, 20) | st.just(math.nan), min_size=1, max_size=30)


@given(st.lists(values, min_size=2, max_size=4), st.sampled_from((TOKENS, TIME)))
def test_nobody_is_judged_beyond_what_all_have_reached(runs: list[list[float]], axis: int) -> None:
    series = [line([(v, 10.0 * i, 2.0 * i) for i, v in enumerate(run, 1)]) for run in runs]
    level = standings(series, axis, 0.0)
    shortest = min(map(len, runs))
    assert level.at == (10.0 if axis == TOKENS else 2.0) * shortest
    for run, standing in zip(runs, level.standings, strict=True):
        known = [v for v in run[:shortest] if not math.isnan(v)]
        assert standing.value == known[-1] if known else math.isnan(standing.value)


def test_runs_without_steps_have_no_standing() -> None:
    level = standings([line([]), line([(1.0, 1, 1)])], TOKENS, 0.0)
    assert math.isnan(level.at) and all(math.isnan(s.value) for s in level.standings)


def test_only_what_differs_is_listed() -> None:
    one, other = config_of("balanced"), config_of("balanced", model__depth=16, budget__steps=30_000)
    assert differences({"a": one, "b": one}) == []
    found = dict(differences({"a": one, "b": other, "c": None}))
    assert found["model.depth"] == ("14", "16", "?")
    assert found["budget.steps"] == ("-", "30,000", "?")
    assert len(found) == 2
