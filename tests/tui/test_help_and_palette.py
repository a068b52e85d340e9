"""The help and the command palette are made from the table of keys, and keys can be changed."""

from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import OptionList

from tests.helpers.console_home import console, press, use_home
from tests.helpers.run_screens import shows, until
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.screens.help import HelpScreen
from tui.screens.palette import KeyProvider
from tui.screens.plan.plan_screen import PlanScreen
from tui.screens.plan.review import ReviewScreen
from tui.widgets.dialogs import TextDialog
from tui.widgets.text_box import TextBox
from tui.widgets.text_dialog import ReadingScreen


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_help_is_made_from_the_table(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.help.config_file", lambda: Path("~/.config/nanosolo/config.toml"))
    app = console()
    async with app.run_test(size=size) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        await matches_snapshot(pilot, f"help_{size[0]}x{size[1]}")
        await pilot.press("escape")
        assert isinstance(app.screen, PlanScreen)


@pytest.mark.parametrize("dialog", [HelpScreen("plan"), ReadingScreen("Text", lambda w, h: [Content("row")] * 99)])
async def test_what_is_read_scrolls_by_the_keys_of_lists(dialog: HelpScreen | ReadingScreen) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(dialog)
        await pilot.pause()
        box = dialog.query_one(TextBox)
        seen = []
        for key in ("j", "j", "k", "G", "g", "pagedown", "home"):
            await press(pilot, key)
            seen.append(box.scroll_offset.y)
        last = int(box.max_scroll_y)
        assert seen[:5] == [1, 2, 1, last, 0] and 1 < seen[5] <= last and seen[6] == 0


@pytest.mark.parametrize("key", ["p", "d"])
async def test_help_opens_over_a_dialog_and_leads_back_to_it(key: str) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, key)
        dialog = app.screen
        assert dialog.is_modal and "? help" in text_of(app)
        await press(pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen) and "Move down" in text_of(app)
        await press(pilot, "question_mark", "escape")
        assert app.screen is dialog


@pytest.mark.parametrize("key", ["colon", "ctrl+p"])
async def test_the_palette_finds_a_command_by_its_words(key: str) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(key)
        await pilot.pause()
        assert CommandPalette.is_open(app)
        await pilot.press(*"launch")
        palette = app.screen
        await until(pilot, lambda: palette.query_one(OptionList).option_count > 0)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen))


async def test_a_remapped_key_works_and_footer_and_help_show_it(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    use_home(monkeypatch, home, '[keys]\n"plan.launch" = "f5"\n')
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "f5 launch" in text_of(app) and "L launch" not in text_of(app)
        await pilot.press("L")
        assert isinstance(app.screen, PlanScreen)
        await pilot.press("f5")
        assert isinstance(app.screen, ReviewScreen)


async def test_a_remapped_key_that_had_a_meaning_is_told(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    use_home(monkeypatch, home, '[keys]\n"plan.launch" = "f"\n')
    app = console()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.press("f")
        await pilot.pause()
        assert isinstance(app.screen, ReviewScreen)
        assert len(app.faults) == 1 and app.faults[0].endswith(
            '"plan.launch" = "f" conflicts with plan.fix, which uses the same key.'
        )


async def test_a_key_is_the_same_by_its_sign_and_by_its_name(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    use_home(monkeypatch, home, '[keys]\n"plan.launch" = "?"\n')
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        assert [fault for fault in app.faults if fault.endswith("conflicts with app.help, which uses the same key.")]
        await press(pilot, "question_mark")
        assert isinstance(app.screen, ReviewScreen)


async def ask_palette(pilot: Pilot[None], name: str) -> None:
    """Type the name of a command into the palette, and take it as soon as it is offered first."""
    await pilot.press("ctrl+p", *("space" if letter == " " else letter for letter in name))
    offered = pilot.app.screen.query_one(OptionList)
    await until(pilot, lambda: offered.option_count > 0 and name in str(offered.options[0].prompt))
    await pilot.press("enter")


@pytest.mark.parametrize("mode", ["logs", "chat", "monitor"])
async def test_the_palette_finds_and_does_what_other_screens_do(mode: str) -> None:
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        app.action_go(mode)
        await pilot.pause()
        await pilot.press("escape")  # out of the field where something is typed
        app.action_go(mode)
        await pilot.pause()
        await ask_palette(pilot, "Plan: Export")
        await shows(pilot, "Export TOML")
        assert isinstance(app.screen, TextDialog) and app.current_mode == "plan"


async def test_what_acts_at_once_is_shown_before_it_is_done_from_elsewhere() -> None:
    app = console()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await press(pilot, "6")
        await ask_palette(pilot, "Review: Launch")
        await shows(pilot, "Review: press Enter. Start the run")
        assert isinstance(app.screen, ReviewScreen) and not app.screen.launching


async def test_what_another_screen_cannot_do_now_is_told() -> None:
    app = console()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await press(pilot, "6")
        await ask_palette(pilot, "Monitor: Advice")
        await shows(pilot, "Monitor: a is not available now")


async def test_the_palette_names_no_command_of_another_screen_that_only_moves() -> None:
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        names = [command.name for command in KeyProvider(app.screen)._commands()]
        assert "Runs: Stop" in names and "Monitor: Report" in names and "Logs: Search" in names
        assert "Logs: Down" not in names and not any(name.startswith("Plan: ") for name in names)
        assert len(names) == len(set(names))
