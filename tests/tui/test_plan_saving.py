"""The Plan screen: prices, presets and files that are saved, lists by their keys."""

import tomllib
from pathlib import Path

import pytest
from textual.widgets import Input

from engine.config.layers import from_dict
from tests.helpers.console_home import console, press, use_home
from tests.helpers.plan_keys import at, choose, plan_of, value
from tests.helpers.snapshot import text_of
from tui.screens.plan.settings_list import KNOBS, KnobList
from tui.widgets.dialogs import TextDialog

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


async def test_a_price_gives_the_cost() -> None:
    app = console()
    async with app.run_test(size=MIDDLE) as pilot:
        await choose(pilot, "balanced")
        await at(pilot, "runtime.price_per_hour")
        await press(pilot, "enter", *"1.29", "enter")
        cost = plan_of(app).plan.time.cost
        assert cost is not None and f"{cost:,.2f}" in text_of(app)


async def test_s_saves_a_preset_of_ones_own_that_the_command_line_knows(home: Path) -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await at(pilot, "model.depth")
        await press(pilot, "right", "s")
        assert isinstance(app.screen, TextDialog)
        await press(pilot, *"balanced", "enter")
        assert isinstance(app.screen, TextDialog)  # a shipped name is refused
        app.screen.query_one(Input).value = ""
        await press(pilot, *"mine", "enter")
        assert value(app, "about.preset") == "mine" and plan_of(app).draft.edits == {}
    saved = from_dict(tomllib.loads((home / "presets" / "mine.toml").read_text()))
    assert saved.model.depth == 6 and saved.about.preset == "mine"


async def test_capital_e_writes_the_complete_toml(tmp_path: Path) -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "E", "enter")
        config = plan_of(app).draft.config
    assert from_dict(tomllib.loads((tmp_path / "quickstart.toml").read_text())) == config


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "E")
        app.screen.query_one(Input).value = str(tmp_path / "no" / "such" / "x.toml")
        await press(pilot, "enter")
        assert isinstance(app.screen, TextDialog) and "does not exist" in text_of(app)


async def test_a_broken_preset_of_ones_own_is_shown_as_broken(home: Path) -> None:
    (home / "presets").mkdir()
    (home / "presets" / "broken.toml").write_text("[model]\ndepht = 3\n")
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "p", "end")
        assert "cannot be used" in text_of(app) and "Did you mean model.depth" in text_of(app)
        await press(pilot, "enter")
        assert value(app, "about.preset") == "quickstart"


async def test_lists_move_with_j_k_g_and_capital_g() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        knobs = app.screen.query_one(KnobList)
        await press(pilot, "j", "j")
        assert knobs.chosen == "model.depth"
        await press(pilot, "k")
        assert knobs.chosen == "gpu"
        await press(pilot, "G")
        assert knobs.chosen == list(KNOBS)[-1]
        await press(pilot, "g")
        assert knobs.chosen == "preset"


async def test_a_large_terminal_shows_presets_and_gpus_beside_the_settings() -> None:
    app = console()
    async with app.run_test(size=LARGE) as pilot:
        await press(pilot, "p", "down", "down", "down", "enter")
        assert value(app, "about.preset") == "balanced"
        await press(pilot, "d", "home", "enter")
        assert value(app, "runtime.gpu") == "cpu"
