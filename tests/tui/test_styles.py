"""The styles of one screen leave all others as they are."""

from pathlib import Path

import pytest
from textual.app import App
from textual.pilot import Pilot

from tests.helpers.console_home import use_home
from tests.helpers.run_screens import console_on, finished, put, shows
from tests.helpers.snapshot import text_of

SHOWN = {"1": "Settings", "3": "finished, 600 steps", "6": "engine.log"}  # screens that tell no age


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


async def look(pilot: Pilot[None], app: App[None], key: str) -> str:
    await pilot.press("escape", key)
    await shows(pilot, SHOWN[key])
    await pilot.pause(0.3)
    return text_of(app)


@pytest.mark.parametrize("key", SHOWN)
async def test_a_screen_looks_the_same_after_all_others_were_open(home: Path, key: str) -> None:
    (run,) = put(home, ("red", finished()))
    run.log_file.write_text("a line\n")
    app = console_on(run)
    async with app.run_test(size=(80, 24)) as pilot:
        fresh = await look(pilot, app, key)
    app = console_on(run)
    async with app.run_test(size=(80, 24)) as pilot:
        for other in ("4", "5", "7", "escape", "6", "3", "1", "b", "escape", "escape", "1", "L"):
            await pilot.press(other)
            await pilot.pause(0.2)
        assert await look(pilot, app, key) == fresh
