"""The frame: screens by keys, help and palette from the table, remapping, themes, ASCII, NO_COLOR, a quick start."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.command import CommandPalette
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import OptionList

import tui
from engine.core.errors import UsageError
from engine.hardware.gpu_catalog import by_id
from engine.run.directory import RunDirectory, RunLock
from tests.helpers.console_home import console, use_home
from tests.helpers.made_run import story_of, write_run
from tests.helpers.run_screens import shows, until
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.app import SCREENS, NanosoloApp, farewell, unlaunched_edits
from tui.cli.commands.configuration import configuration
from tui.cli.parser import build_parser
from tui.keys.bindings import KEYS, Key
from tui.planning.formulas import LETTERS
from tui.screens.base import TopRow
from tui.screens.help import HelpScreen
from tui.screens.palette import KeyProvider
from tui.screens.plan.plan_screen import PlanScreen
from tui.screens.plan.review import ReviewScreen
from tui.terminal.ascii_filter import to_ascii
from tui.terminal.no_color_filter import NoColorFilter
from tui.terminal.themes import THEMES, choose_theme
from tui.widgets.dialogs import TextDialog
from tui.widgets.text_box import TextBox
from tui.widgets.text_dialog import ReadingScreen

FORBIDDEN = ("torch", "numpy", "pyarrow", "matplotlib", "transformers", "tokenizers", "rustbpe", "tiktoken")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("key", [key for key in KEYS if key.id.startswith("go.")], ids=lambda key: key.id)
async def test_each_screen_opens_by_its_key_and_escape_goes_back(key: Key) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(key.keys)
        await pilot.pause()
        assert key.id.removeprefix("go.") == app.screen.MODE  # type: ignore[attr-defined]
        assert lit(app) == f"{key.keys} {key.label}"
        await pilot.press("escape")
        await pilot.pause()
        assert app.current_mode == "plan"


def test_the_tabs_are_numbered_without_a_gap() -> None:
    assert [key.keys for key in KEYS if key.id.startswith("go.")] == list("1234567")


async def test_2_reviews_what_plan_holds_from_anywhere_and_escape_leads_back() -> None:
    app = console(watch=RunDirectory(Path("none")))  # Plan was not shown yet
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2")
        assert isinstance(app.screen, ReviewScreen) and lit(app) == "2 Review"
        await press(pilot, "escape")
        assert app.current_mode == "monitor" and lit(app) == "3 Monitor"
        await press(pilot, "1", "down", "down", "right", "4", "2")
        assert isinstance(app.screen, ReviewScreen) and app.screen.draft.edits == {"model.depth": 6}
        await press(pilot, "2")
        assert len(app.screen_stack) == 2  # not one over the other
        await press(pilot, "6")
        assert app.current_mode == "logs"
        await press(pilot, "1")
        assert isinstance(app.screen, PlanScreen) and lit(app) == "1 Plan"
        await press(pilot, "L", "escape")
        assert isinstance(app.screen, PlanScreen)


async def press(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await pilot.pause()


def lit(app: NanosoloApp) -> str:
    """The tab of the top row that stands out."""
    row = app.screen.query_one(TopRow).render()
    assert isinstance(row, Content)
    return next(row.plain[span.start : span.end].strip() for span in row.spans if "on $background" in str(span.style))


async def test_what_the_screen_is_about_keeps_its_end_where_there_is_little_room() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        app.screen.query_one(TopRow).about = "quickstart-20261123-0728"
        await pilot.pause()
        assert text_of(app).splitlines()[0].rstrip().endswith("3-0728")


async def test_escape_goes_back_through_all_that_was_visited() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        seen = []
        for key in ("4", "6", "4"):
            await pilot.press(key)
            await pilot.pause()
        for _ in range(4):
            seen.append(app.current_mode)
            await pilot.press("escape")
            await pilot.pause()
        assert seen == ["runs", "logs", "plan", "plan"]


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


async def test_faults_of_the_settings_are_shown_and_not_fatal(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    use_home(monkeypatch, home, 'theme = "[nanosolo-drak]"\n')
    app = console()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await shows(pilot, "[nanosolo-drak]", "Did you mean")
        assert isinstance(app.screen, PlanScreen)


async def test_ctrl_t_goes_through_our_themes() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        seen = [app.theme]
        for _ in THEMES:
            await pilot.press("ctrl+t")
            seen.append(app.theme)
        assert set(seen) == {theme.name for theme in THEMES} and seen[0] == seen[-1] == "nanosolo-dark"


@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
async def test_every_theme_draws_every_screen(theme: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    use_home(monkeypatch, home, f'theme = "{theme}"\n')
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        for mode in SCREENS:
            app.action_go(mode)
            await pilot.pause()
            assert "nanosolo" in text_of(app)


def test_plain_colors_where_the_terminal_has_no_more() -> None:
    assert choose_theme("auto", "standard", False) == "nanosolo-plain"
    assert choose_theme("auto", "256", False) == choose_theme("auto", "truecolor", False) == "nanosolo-dark"
    assert choose_theme("nanosolo-light", "truecolor", True) == "nanosolo-plain"
    assert choose_theme("nanosolo-light", "standard", False) == "nanosolo-light"


@pytest.mark.parametrize("theme", ["nanosolo-plain", "nanosolo-plain-light"])
async def test_the_letters_of_the_vram_bar_are_seen_on_their_colors(
    theme: str, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    use_home(monkeypatch, home, f'theme = "{theme}"\n', by_id("a100-40gb"))
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        seen = {}
        for strip in app.screen._compositor.render_strips():
            for text, style, _ in strip:
                ground = style.bgcolor if style is not None else None
                if text.strip() in LETTERS.values() and ground is not None and not ground.is_default:
                    seen[text.strip()] = (style.color, ground)
        assert set(seen) == set(LETTERS.values())
        assert {color.number for color, _ in seen.values()} == {0}  # black
        assert not {ground.number for _, ground in seen.values()} & {0, 7, 15}


@pytest.mark.parametrize("mode", list(SCREENS))
async def test_ascii_draws_nothing_else(mode: str) -> None:
    app = console(ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        app.action_go(mode)
        await pilot.pause()
        lines = app.screen._compositor.render_strips()
        drawn = [line.apply_filter(app._filters[-1], Color(0, 0, 0)) for line in lines]
        assert all(line.text.isascii() for line in drawn)
        assert [line.cell_length for line in drawn] == [line.cell_length for line in lines]


def test_ascii_keeps_the_width_of_any_text() -> None:
    assert to_ascii("43 × 6,144 – é 日本 ⣿ ✓") == "43 x 6,144 - e ???? * v"
    for text in ("ＡＢ", "㎏", "½", "e\u0301", "ﬁ", "\u200b", "🙂"):
        assert to_ascii(text).isascii() and cell_len(to_ascii(text)) == cell_len(text), text


def test_ascii_has_a_likeness_for_all_that_the_console_draws() -> None:
    root = Path(tui.__file__).parent
    drawn = {c for path in root.rglob("*.py") for c in path.read_text(encoding="utf-8") if not c.isascii()}
    assert len(drawn) > 30
    assert not {c for c in drawn if "?" in to_ascii(c)}


def test_without_color_what_lay_on_one_is_reversed() -> None:
    on_blue, plain = Segment("a", Style.parse("red on blue bold")), Segment("b", Style.parse("red"))
    first, second = NoColorFilter().apply([on_blue, plain], Color(0, 0, 0))
    assert first.style == Style.parse("default on default bold reverse")
    assert second.style == Style.parse("default on default")


async def test_no_color_leaves_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        for line in app.screen._compositor.render_strips():
            for text_filter in app._filters:
                line = line.apply_filter(text_filter, Color(0, 0, 0))
            for segment in line:
                if segment.style is not None:
                    for color in (segment.style.color, segment.style.bgcolor):
                        assert color is None or color.is_default


async def test_q_leaves() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0


@pytest.mark.parametrize("opens", ["p", "question_mark", "E"])
async def test_q_closes_a_dialog_and_types_where_one_types(opens: str) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(opens)
        await pilot.pause()
        assert len(app.screen_stack) == 2
        await pilot.press("q")
        await pilot.pause()
        assert len(app.screen_stack) == (2 if opens == "E" else 1)
        assert app.return_code is None


@pytest.mark.parametrize("keys", [["p"], ["question_mark"], ["E"], ["colon"], ["down", "down", "enter"], ["L", "n"]])
async def test_ctrl_q_leaves_from_anywhere(keys: list[str]) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        await pilot.press("ctrl+q")
        await pilot.pause()
    assert app.return_code == 0


async def test_an_error_of_the_user_is_shown_as_it_is_written() -> None:
    app = console()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        app.tell_error(UsageError("data.paths = [red]/tmp/[x].txt: no such file"))
        await shows(pilot, "[red]/tmp/[x].txt")


def test_the_farewell_names_what_goes_on_and_the_way_back(home: Path) -> None:
    assert farewell() == []
    story = story_of("demo", 1_700_000_000.0).start("demo")
    run: RunDirectory = write_run(home, "demo", story)
    with RunLock(run):
        lines = farewell()
    assert lines[0].startswith("demo continues training without the console")
    assert lines[2:] == [
        "  nanosolo               the console",
        "  nanosolo attach demo   follow as text",
        "  nanosolo stop demo     stop after a checkpoint",
    ]


async def test_edits_that_were_not_launched_are_told_as_a_command_on_leaving() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert unlaunched_edits(app.draft, app.settled) == []  # nothing was edited
        await pilot.press("down", "down", "right", "q")
        await pilot.pause()
    line = unlaunched_edits(app.draft, app.settled)[-1]
    words = shlex.split(line)
    assert words[:3] == ["nanosolo", "--preset", "quickstart"] and "model.depth=6" in words
    assert app.draft is not None
    assert configuration(build_parser().parse_args(words[1:])).config == app.draft.config


@pytest.mark.parametrize("keys", [["E", "enter"], ["s", *"mine", "enter"], ["u"]], ids=["exported", "saved", "undone"])
async def test_what_was_kept_or_taken_back_is_not_told_on_leaving(
    keys: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "down", "right")
        await pilot.pause()
        assert unlaunched_edits(app.draft, app.settled)
        await pilot.press(*keys)
        await pilot.pause()
        assert unlaunched_edits(app.draft, app.settled) == []


def test_the_console_imports_nothing_heavy_and_no_screen_before_it_is_shown(home: Path) -> None:
    code = f"""
import asyncio, sys
from tui.app import NanosoloApp
async def main():
    app = NanosoloApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.current_mode == "plan"
        assert "tui.screens.compare" not in sys.modules and "tui.screens.plan.review" not in sys.modules
        for mode in {list(SCREENS)!r}:
            app.action_go(mode)
            await pilot.pause()
    print([name for name in {FORBIDDEN!r} if name in sys.modules])
asyncio.run(main())
"""
    environment = {**os.environ, "NANOSOLO_HOME": str(home)}
    done = subprocess.run((sys.executable, "-c", code), env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


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
        await shows(pilot, "This is Review. Enter: Start the run")
        assert isinstance(app.screen, ReviewScreen) and not app.screen.launching


async def test_what_another_screen_cannot_do_now_is_told() -> None:
    app = console()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await press(pilot, "6")
        await ask_palette(pilot, "Monitor: Advice")
        await shows(pilot, "Monitor has nothing now on which a could work")


async def test_the_palette_names_no_command_of_another_screen_that_only_moves() -> None:
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        names = [command.name for command in KeyProvider(app.screen)._commands()]
        assert "Runs: Stop" in names and "Monitor: Report" in names and "Logs: Search" in names
        assert "Logs: Down" not in names and not any(name.startswith("Plan: ") for name in names)
        assert len(names) == len(set(names))
