"""The budget view: hours typed, models ranked, one adopted into the plan, at 80x24 and wider."""

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.schema import get
from engine.core import formatting
from engine.hardware.gpu_catalog import by_id, by_name
from engine.plan.plan import make_plan
from tests.helpers.console_home import console, press, use_home
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.app import NanosoloApp
from tui.planning.budget_table import (
    Asked,
    adopt,
    cells_of,
    find,
    header,
    loss_text,
    parse_hours,
    parse_price,
    table_row,
)
from tui.planning.choices import Here
from tui.planning.draft import Draft
from tui.screens.plan.budget_screen import BudgetScreen, CandidateList
from tui.screens.plan.plan_screen import PlanScreen
from tui.widgets.run_chart import RunChart

GPU = by_id("a100-40gb")
SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home", gpu=GPU)
    return tmp_path / "home"


def draft_of(app: NanosoloApp) -> Draft:
    assert isinstance(app.screen, PlanScreen)
    return app.screen.draft


@given(st.floats(0.001, 10_000, allow_nan=False))
def test_hours_are_read_as_they_are_written(hours: float) -> None:
    assert parse_hours(f"{hours!r}") == hours and parse_price(f" {hours!r} ") == hours


@pytest.mark.parametrize("text", ["", "0", "-1", "1e9", "nan", "inf", "twelve", "1.2.3"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="above 0"):
        parse_hours(text)


@pytest.mark.parametrize("text", ["-1", "nan", "dear"])
def test_what_is_no_price_is_refused(text: str) -> None:
    assert parse_price("") is None and parse_price("0") == 0
    with pytest.raises(ValueError, match="0 or more"):
        parse_price(text)


@pytest.mark.parametrize("preset", ["balanced", "quickstart", "reference"])
def test_the_plan_of_every_candidate_says_what_the_table_said(preset: str) -> None:
    draft = Draft.from_preset(preset).on_gpu("a100-40gb")
    here = Here(GPU, GPU, {})
    found = find(draft, here, Asked(12.0, 1.29))
    assert found.best is found.shown[0]
    for candidate in found.shown[:6]:
        plan = here.plan(adopt(draft, candidate, 1.29).config)
        assert (plan.depth, plan.steps, plan.tokens) == (candidate.depth, candidate.steps, candidate.tokens)
        assert plan.time.hours == pytest.approx(candidate.hours) and plan.time.cost == pytest.approx(candidate.cost)
        assert plan.memory.total == candidate.peak and plan.memory.fits
        assert len(table_row(cells_of(candidate, draft.config.tokenizer.vocab_size))) <= len(header())


def test_the_front_is_better_the_longer_it_takes() -> None:
    front = find(Draft.from_preset("balanced"), Here(GPU, GPU, {}), Asked(24.0, None)).front
    assert len(front) >= 3
    for quick, slow in itertools.pairwise(front):
        assert quick.hours < slow.hours and quick.predicted_loss > slow.predicted_loss


def test_a_token_budget_gives_way_to_the_candidates_steps() -> None:
    draft = Draft.from_preset("balanced").edit({"budget.tokens": 10**9})
    best = find(draft, Here(GPU, GPU, {}), Asked(12.0, None)).best
    assert best is not None
    config = adopt(draft, best, None).config
    assert config.budget.tokens is None and config.budget.steps == best.steps


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40", "200x60"])
async def test_snapshot(size: tuple[int, int]) -> None:
    app = console()
    async with app.run_test(size=size) as pilot:
        await press(pilot, "b", *"12", "enter", "down")
        lines = text_of(app).splitlines()
        assert len(lines) == size[1] and max(map(len, lines)) <= size[0]
        if size[0] < 200:
            await matches_snapshot(pilot, f"budget_{size[0]}x{size[1]}")


async def test_the_best_model_for_hours_and_price_is_adopted_as_edits_and_taken_back() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        before = draft_of(app)
        await press(pilot, "b", *"12", "tab", *"1.29")
        shown = text_of(app)
        candidate = app.screen.query_one(CandidateList).candidate
        assert candidate is not None and f"{candidate.cost:,.2f}" in shown and "* best" in shown
        await press(pilot, "enter", "enter")
        after = draft_of(app)
        for path, value in candidate.change.items():
            assert get(after.config, path) == value
        assert after.origins["budget.steps"] == after.origins["runtime.price_per_hour"] == "edited"
        assert get(after.config, "runtime.price_per_hour") == 1.29
        await press(pilot, "u")
        assert draft_of(app) == before


async def test_another_row_is_shown_in_the_chart_and_adopted() -> None:
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "b", *"12", "enter", "j", "j")
        models = app.screen.query_one(CandidateList)
        assert models.chosen == "2" and models.candidate is not None
        chosen = app.screen.query_one(RunChart).model.layer("under the cursor")
        assert chosen is not None and chosen.series.raw.values[-1] == models.candidate.predicted_loss
        depth = models.candidate.depth
        await press(pilot, "a")
        assert get(draft_of(app).config, "model.depth") == depth


async def test_what_is_half_typed_keeps_the_last_answer() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "b", *"12")
        found = app.screen.query_one(CandidateList).found
        await press(pilot, ".", ".")
        assert "a number above 0" in text_of(app) and app.screen.query_one(CandidateList).found is found
        await press(pilot, "enter", "h", "home", *"24")
        assert app.focused is not None and app.focused.id == "hours"
        await press(pilot, "enter", "p")
        assert app.focused is not None and app.focused.id == "price"


async def test_escape_leaves_without_a_change() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        before = draft_of(app)
        await press(pilot, "b", *"3", "escape")
        assert draft_of(app) == before


@given(st.floats(0.01, 100), st.integers(2, 10**6))
def test_no_loss_is_told_that_guessing_would_beat(loss: float, vocab_size: int) -> None:
    told = loss_text(loss, vocab_size)
    assert told == ("no estimate: too few tokens" if math.exp(loss) > vocab_size else f"loss {loss:.3f}")


async def test_a_plan_of_too_few_tokens_has_no_estimate_and_its_field_names_the_way_back() -> None:
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        app.screen.draft = draft_of(app).edit({"budget.steps": 10, "batch.total_batch_size": 6144})  # type: ignore[attr-defined]
        await press(pilot, "b")
        text = text_of(app)
        assert "s: no estimate: too few tokens" in text and "Esc back" in text and "Tab next" in text
        assert app.screen.query_one(RunChart).model.layer("this plan") is None
        await press(pilot, "escape")
        assert isinstance(app.screen, PlanScreen)


async def test_too_few_hours_say_what_to_do() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "b", *"0.001", "enter")
        assert "Increase the hours" in text_of(app)
        await press(pilot, "enter", "a")
        assert isinstance(app.screen, BudgetScreen)


async def test_a_gpu_of_unknown_speed_says_so(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    use_home(monkeypatch, home, gpu=by_name("NVIDIA Test", 40 * 2**30))
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "b")
        assert "is not known" in text_of(app)


async def test_enter_on_a_mode_of_checkpointing_takes_it() -> None:
    app = console()
    async with app.run_test(size=(200, 60)) as pilot:
        block = next(m for m in make_plan(draft_of(app).config, GPU).memory_by_checkpointing if m.mode == "block")
        assert f"+{formatting.percent(block.time_factor - 1)} time" in text_of(app)
        stages = make_plan(draft_of(app).config, GPU).stages  # stand beneath the modes
        await press(pilot, "tab", "G", *["up"] * len(stages), "enter")
        assert get(draft_of(app).config, "batch.activation_checkpointing") == "block"
