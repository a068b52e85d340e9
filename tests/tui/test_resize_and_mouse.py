"""Windows that change their size all the time, from the smallest to the largest, and what a mouse can do."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import OptionList

from engine.run.directory import RunDirectory
from tests.helpers.console_home import use_home
from tests.helpers.run_screens import console_on, finished, out_of_memory, put, shows, stopped, until
from tests.helpers.snapshot import text_of
from tui.keys.bindings import KEYS
from tui.screens.base import TopRow
from tui.screens.plan.plan_screen import PlanScreen
from tui.screens.plan.settings_list import KnobList
from tui.screens.runs import RunsScreen

STORM = 30
SETTLED = {
    "1": ["model.depth"],
    "2": ["The stages"],
    "3": ["finished"],
    "4": ["finished", "stopped", "failed"],
    "5": ["red", "blue"],
    "6": ["line 299 of red"],
}
TABS = [key for key in KEYS if key.id.startswith("go.")]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunDirectory]:
    use_home(monkeypatch, tmp_path / "home")
    made = put(tmp_path / "home", ("red", finished("red")), ("blue", stopped("blue", 40)), ("full", out_of_memory()))
    for run in made:
        run.log_file.write_text("".join(f"line {number} of {run.name}\n" for number in range(300)))
    return made


def picture(app: App[Any]) -> str:
    """What is shown but for numbers, some of which are times."""
    return re.sub(r" *[0-9]+", "0", text_of(app))


async def settled(pilot: Pilot[None]) -> str:
    """The picture, once it has been the same for a while."""
    seen = [picture(pilot.app)]
    while len(seen) < 10 or len(set(seen[-10:])) > 1:
        await pilot.pause(0.05)
        seen.append(picture(pilot.app))
    return seen[-1]


@pytest.mark.parametrize("key", SETTLED)
async def test_a_storm_of_sizes_breaks_nothing_and_leaves_the_same_picture(key: str, runs: list[RunDirectory]) -> None:
    sizes = random.Random(key)
    app = console_on(runs[0])
    app.compared = ("red", "blue")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(key)
        await until(pilot, lambda: not any(word in picture(app) for word in ("looking at", "Looking")))
        await shows(pilot, *SETTLED[key])
        before = await settled(pilot)
        for _ in range(STORM):
            width, height = sizes.choice([(40, 10), (200, 60), (sizes.randint(40, 200), sizes.randint(10, 60))])
            await pilot.resize_terminal(width, height)
            lines = text_of(app).splitlines()
            assert len(lines) == height and max(map(cell_len, lines)) <= width
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: picture(app) == before)


@pytest.mark.parametrize("width", [80, 120])
async def test_a_click_on_a_tab_opens_its_screen(width: int, runs: list[RunDirectory]) -> None:
    app = console_on(runs[0])
    async with app.run_test(size=(width, 40)) as pilot:
        for key in (*TABS[1:], TABS[0]):
            row = text_of(app).splitlines()[0]
            await pilot.click(TopRow, offset=(row.index(key.label) - app.screen.query_one(TopRow).region.x, 0))
            await pilot.pause()
            assert key.id.removeprefix("go.") == app.screen.MODE  # type: ignore[attr-defined]


async def test_clicks_on_rows_choose_them(runs: list[RunDirectory]) -> None:
    app = console_on(None)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await shows(pilot, "red", "blue", "full")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        line = next(y for y, text in enumerate(text_of(app).splitlines()) if "blue" in text)
        rows = screen.query_one(OptionList)
        await pilot.click(OptionList, offset=(5, line - rows.region.y))
        await until(pilot, lambda: app.watched is not None and app.watched.name == "blue")


async def test_clicks_on_settings_and_beside_them(runs: list[RunDirectory]) -> None:
    app = console_on(None)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert isinstance(app.screen, PlanScreen)
        knobs = app.screen.query_one(KnobList)
        line = next(y for y, text in enumerate(text_of(app).splitlines()) if "model.depth" in text)
        await pilot.click(KnobList, offset=(5, line - knobs.region.y))
        await pilot.pause()
        assert knobs.chosen == "model.depth"
        for place in ((1, 1), (60, 20), (119, 39), (0, 39)):
            await pilot.click(offset=place)
            await pilot.pause()
        assert isinstance(app.screen, PlanScreen)
