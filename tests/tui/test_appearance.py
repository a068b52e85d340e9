"""Themes, ASCII and NO_COLOR: every screen is readable in every terminal."""

from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

import tui
from engine.hardware.gpu_catalog import by_id
from tests.helpers.console_home import console, use_home
from tests.helpers.snapshot import text_of
from tui.app import SCREENS
from tui.planning.formulas import LETTERS
from tui.terminal.ascii_filter import to_ascii
from tui.terminal.no_color_filter import NoColorFilter
from tui.terminal.themes import THEMES, choose_theme


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


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
