"""The Plan screen, driven by its keys: choosing, editing, undoing, fixing, saving, exporting, at 80x24 and wider."""

from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.hardware.gpu_catalog import by_id
from tests.helpers.console_home import console, press, use_home
from tests.helpers.plan_keys import at, choose, plan_of, value
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.screens.plan.detail import Detail, Editor, WarningBar
from tui.screens.plan.preview import Preview
from tui.screens.plan.settings_list import KNOBS, KnobList
from tui.widgets.dialogs import ChoiceDialog

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


async def test_it_starts_with_quickstart_where_there_is_no_gpu() -> None:
    app = console()
    async with app.run_test(size=SMALL):
        assert value(app, "about.preset") == "quickstart"
        assert "no NVIDIA GPU" in text_of(app)


@pytest.mark.parametrize(("gpu", "preset"), [("a100-40gb", "balanced"), ("a100-80gb", "maximum")])
async def test_it_starts_with_the_preset_for_the_gpu_found(
    monkeypatch: pytest.MonkeyPatch, home: Path, gpu: str, preset: str
) -> None:
    use_home(monkeypatch, home, gpu=by_id(gpu))
    app = console()
    async with app.run_test(size=SMALL):
        assert value(app, "about.preset") == preset
        assert plan_of(app).plan.gpu == gpu


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])
async def test_snapshot(size: tuple[int, int]) -> None:
    app = console()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await matches_snapshot(pilot, f"plan_{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])
async def test_nothing_is_drawn_beyond_the_edges(size: tuple[int, int]) -> None:
    app = console()
    async with app.run_test(size=size) as pilot:
        if size != LARGE:
            await choose(pilot, "reference")
        lines = text_of(app).splitlines()
        assert len(lines) == size[1] and max(map(len, lines)) <= size[0]
        for name in ("knobs", "preview", "detail"):
            region = app.screen.query_one(f"#{name}").region
            assert region.right <= size[0] and region.bottom <= size[1] - 1 and region.height >= 6


async def type_at_once(pilot: Pilot[None], text: str, key: str) -> None:
    """Text and a key as of a paste: the key arrives before anybody has looked at the text."""
    editor = pilot.app.screen.query_one(Editor)
    editor.value = text
    await editor.run_action({"enter": "submit", "tab": "nearest"}[key])
    await pilot.pause()


async def test_what_is_pasted_with_enter_and_is_wrong_stays_in_the_editor() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await at(pilot, "model.depth")
        await press(pilot, "enter")
        before = value(app, "model.depth")
        await type_at_once(pilot, "1x", "enter")
        editor = app.screen.query_one(Editor)
        assert app.focused is editor and editor.display and editor.value == "1x"
        assert "model.depth = 1x" in text_of(app) and value(app, "model.depth") == before
        await type_at_once(pilot, "12", "enter")
        assert value(app, "model.depth") == 12 and isinstance(app.focused, KnobList) and not editor.display


async def test_tab_takes_the_nearest_of_what_was_pasted() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await at(pilot, "model.depth")
        await press(pilot, "enter")
        await type_at_once(pilot, "12000", "tab")
        assert value(app, "model.depth") == KNOBS["model.depth"].high and isinstance(app.focused, KnobList)


async def test_choosing_a_preset_shows_its_exact_step() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await choose(pilot, "balanced")
        assert "43 × 6,144" in text_of(app) and "264,192" in text_of(app)


async def test_the_preview_follows_each_keystroke_and_escape_takes_it_back() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await choose(pilot, "balanced")
        await at(pilot, "model.depth")
        await press(pilot, "enter")
        assert isinstance(app.focused, Editor)
        await press(pilot, "1")
        assert plan_of(app).plan.depth == 1
        await press(pilot, "2")
        assert plan_of(app).plan.depth == 12 and "edited" in text_of(app)
        assert value(app, "model.depth") == 14  # not kept yet
        await press(pilot, "escape")
        assert plan_of(app).plan.depth == 14 and isinstance(app.focused, KnobList)


async def test_enter_keeps_what_was_typed_and_u_undoes_it() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await choose(pilot, "balanced")
        await at(pilot, "model.depth")
        await press(pilot, "e", "1", "2", "enter")
        assert value(app, "model.depth") == 12
        assert plan_of(app).draft.origins["model.depth"] == "edited"
        await press(pilot, "u")
        assert value(app, "model.depth") == 14
        await press(pilot, "u")
        assert value(app, "about.preset") == "quickstart"
        await press(pilot, "u")
        assert value(app, "about.preset") == "quickstart"


async def test_a_wrong_value_names_the_nearest_and_tab_takes_it() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await choose(pilot, "balanced")
        await at(pilot, "batch.device_batch_size")
        await press(pilot, "enter", "9", "9", "9", "9")
        shown = text_of(app)
        assert "batch.device_batch_size = 9999: valid values: 1–4,096" in shown
        assert "Tab batch.device_batch_size = 170" in shown
        await press(pilot, "enter")
        assert isinstance(app.focused, Editor)  # Enter does not keep what is not valid
        await press(pilot, "tab")
        assert value(app, "batch.device_batch_size") == 170 and isinstance(app.focused, KnobList)


async def test_up_and_down_step_while_editing() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await at(pilot, "batch.device_batch_size")
        await press(pilot, "enter", "down")
        assert app.screen.query_one(Editor).value == "8"
        await press(pilot, "up", "up", "down", "enter")
        assert value(app, "batch.device_batch_size") == 16


async def test_arrows_turn_a_knob_and_backspace_gives_the_preset_back() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await at(pilot, "model.depth")
        await press(pilot, "right", "plus")
        assert value(app, "model.depth") == 7  # 5 has no whole heads
        await press(pilot, "left", "minus", "minus")
        assert value(app, "model.depth") == 3
        await press(pilot, "backspace")
        assert value(app, "model.depth") == 4 and plan_of(app).draft.edits == {}


async def test_enter_on_a_choice_takes_the_next() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await at(pilot, "data.shuffle")
        await press(pilot, "enter")
        assert value(app, "data.shuffle") is False


async def test_choosing_another_gpu_plans_for_it() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await choose(pilot, "balanced")
        await press(pilot, "d")
        assert isinstance(app.screen, ChoiceDialog)
        await press(pilot, "home", "enter")
        assert value(app, "runtime.gpu") == "cpu" and value(app, "runtime.device") == "cpu"
        assert not plan_of(app).here.device(plan_of(app).draft.config).is_cuda


async def test_escape_leaves_a_dialog_without_a_change() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "p", "down", "escape")
        assert value(app, "about.preset") == "quickstart"


async def test_the_formula_of_the_number_under_the_cursor() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await choose(pilot, "balanced")
        await press(pilot, "tab", "down")
        assert app.screen.query_one(Preview).chosen == "accum"
        assert "43 = 262,144 tokens requested / (4 sequences × 1,536 tokens)" in text_of(app)
        await press(pilot, "shift+tab")
        assert isinstance(app.focused, KnobList)


async def test_f_applies_the_fix_of_a_warning() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await choose(pilot, "balanced")
        assert "f fix" in text_of(app)
        await press(pilot, "f")
        assert value(app, "batch.total_batch_size") == 264_192
        assert "total_batch_rounded" not in [warning.code for warning in plan_of(app).plan.warnings]


async def test_a_plan_that_does_not_fit_says_so_first_and_f_makes_it_fit() -> None:
    app = console()
    async with app.run_test(size=MIDDLE) as pilot:
        await choose(pilot, "balanced")
        await at(pilot, "batch.device_batch_size")
        await press(pilot, "enter", "1", "2", "8", "enter")
        shown = app.screen.query_one(WarningBar).warning
        assert shown is not None and shown.code == "does_not_fit" and "✗ does not fit" in text_of(app)
        await press(pilot, "f")
        assert plan_of(app).plan.memory.fits


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])
async def test_another_card_than_the_one_here_is_said_first_and_f_plans_for_the_one_here(
    monkeypatch: pytest.MonkeyPatch, home: Path, size: tuple[int, int]
) -> None:
    use_home(monkeypatch, home, gpu=by_id("a100-40gb-pcie"))
    app = console()
    async with app.run_test(size=size) as pilot:
        # the first draft is for the card that is here, whatever its preset names
        assert value(app, "about.preset") == "balanced" and plan_of(app).plan.gpu == "a100-40gb-pcie"
        assert "this machine has" not in text_of(app)
        await press(pilot, "w")
        await choose(pilot, "conservative")
        assert plan_of(app).plan.gpu == "a100-40gb"
        shown = app.screen.query_one(WarningBar).warning
        assert shown is not None and shown.code == "other_gpu"
        assert "this machine has A100-PCIE-40GB: 10." in text_of(app)
        await at(pilot, "gpu")
        assert "This machine has NVIDIA A100-PCIE-40GB" in text_of(app)
        await press(pilot, "f")
        assert plan_of(app).plan.gpu == "a100-40gb-pcie" and "this machine has" not in text_of(app)
        await press(pilot, "u")
        assert plan_of(app).plan.gpu == "a100-40gb"


async def test_w_shows_one_warning_after_the_other_whole() -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await choose(pilot, "balanced")
        bar = app.screen.query_one(WarningBar)
        first = bar.warning
        await press(pilot, "w")
        assert app.screen.query_one(Detail).border_title == "Warning"
        if len(bar.warnings) > 1:
            assert bar.warning is not first
