"""The inverse search: every candidate keeps its promises, and the best is what the law says."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.layers import from_dict, with_changes
from engine.config.schema import RunConfig
from engine.hardware.gpu_catalog import by_id
from engine.plan import budget_search, scaling
from engine.plan.budget_search import Candidate
from engine.plan.memory import SAFE_HEADROOM
from engine.plan.plan import make_plan

GPU = by_id("a100-40gb")


@pytest.fixture(scope="module")
def half_a_day() -> list[Candidate]:
    return budget_search.candidates(RunConfig(), GPU, 12.0, price=1.29)


def test_every_candidate_is_a_plan_that_fits_and_ends_in_time(half_a_day: list[Candidate]) -> None:
    assert len(half_a_day) > 50
    for candidate in half_a_day:
        config = with_changes(RunConfig(), candidate.change)
        plan = make_plan(config, GPU)
        assert plan.memory.headroom >= SAFE_HEADROOM
        assert plan.memory.total == candidate.peak
        assert plan.tokens == candidate.tokens and plan.steps == candidate.steps
        assert plan.time.hours == pytest.approx(candidate.hours, rel=1e-6)
        assert plan.time.tokens_per_second == pytest.approx(candidate.tokens_per_second)
        assert candidate.hours <= 12.0
        assert candidate.cost == pytest.approx(1.29 * candidate.hours)
        assert config.batch.total_batch_size == RunConfig().batch.total_batch_size


def test_the_best_uses_the_whole_budget_and_beats_its_neighbours(half_a_day: list[Candidate]) -> None:
    best = budget_search.best(half_a_day)
    assert best is not None and best is half_a_day[0] and best.pareto
    assert best.hours > 0.99 * 12
    assert 5 < best.tokens_per_param < 40  # near what the law calls optimal
    assert all(best.predicted_loss <= other.predicted_loss for other in half_a_day)


def test_the_front_has_no_candidate_that_another_beats(half_a_day: list[Candidate]) -> None:
    front = [c for c in half_a_day if c.pareto]
    assert len(front) >= 4
    for one in front:
        better = [c for c in half_a_day if c.predicted_loss < one.predicted_loss and c.hours < one.hours * 0.98]
        assert better == []


def test_more_time_gives_a_better_and_larger_model() -> None:
    small, large = (budget_search.best(budget_search.candidates(RunConfig(), GPU, hours)) for hours in (2.0, 100.0))
    assert small is not None and large is not None
    assert large.predicted_loss < small.predicted_loss and large.params > small.params


def test_no_time_gives_no_candidate() -> None:
    assert budget_search.candidates(RunConfig(), GPU, 0.001) == []
    assert budget_search.best([]) is None


def test_the_sweet_spot_is_fast_and_safe() -> None:
    found = budget_search.fits(from_dict({"model": {"depth": 20}}), GPU)
    spot = budget_search.sweet_spot(found)
    assert spot is not None and spot.safe
    fastest = max(fit.tokens_per_second for fit in found if fit.safe)
    assert spot.tokens_per_second > 0.99 * fastest
    assert {fit.activation_checkpointing for fit in found} == {"none", "selective", "block"}
    assert any(not fit.fits for fit in found)


@given(st.integers(1, 64), st.sampled_from([128, 512, 2048]), st.integers(1, 3_000_000))
def test_batch_sizes_cut_the_step_into_whole_pieces(rows: int, length: int, total: int) -> None:
    total = max(total, rows * length)
    config = from_dict(
        {"model": {"max_seq_len": length}, "batch": {"device_batch_size": rows, "total_batch_size": total}}
    )
    per_step = budget_search.tokens_per_step(config)
    for size in budget_search.batch_sizes(config):
        changed = with_changes(config, {"batch.device_batch_size": size, "batch.total_batch_size": per_step})
        assert make_plan(changed, GPU).total_batch_size == per_step


@settings(max_examples=200)
@given(st.floats(0.001, 50), st.floats(1e-5, 0.1), st.floats(0.01, 100))
def test_steps_within_is_the_most_that_fits(fixed: float, each: float, budget: float) -> None:
    def hours_of(steps: int) -> float:
        return fixed + each * steps

    steps = budget_search.steps_within(budget, hours_of)
    assert steps >= 0
    if steps:
        assert hours_of(steps) <= budget
    most = (budget - fixed) / each
    assert steps >= 0.99 * most - 2


def test_the_law_gives_what_nanochat_reached() -> None:
    # d20: 0.812 bits per byte x 4.8 bytes a token x ln 2
    assert scaling.predicted_loss(560_988_160, 11_219_763_200) == pytest.approx(0.812 * 4.8 * 0.6931, abs=0.02)


def test_the_law_is_optimal_near_twenty_tokens_a_parameter() -> None:
    compute = 5.76e23  # Chinchilla's
    ratios = [1.1**i for i in range(60)]
    best = min(
        ratios, key=lambda r: scaling.predicted_loss(round((compute / 6 / r) ** 0.5), round((compute * r / 6) ** 0.5))
    )
    assert 15 < best < 30


@pytest.mark.parametrize(
    ("params", "tokens", "said"),
    [
        (560_000_000, 11_000_000_000, ""),
        (10_000_000, 200_000_000_000, "parameters"),
        (60_000_000, 60_000_000, "FLOPs"),
        (2_000_000_000, 700_000_000, "tokens per parameter"),
    ],
)
def test_outside_the_range_is_said(params: int, tokens: int, said: str) -> None:
    found = scaling.outside_range(params, tokens)
    assert said in found and bool(found) == bool(said)


def test_the_search_imports_no_torch() -> None:
    code = "import sys, engine.plan.budget_search; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_token_is_one() -> None:
    assert [scaling.per_param(ratio) for ratio in (0.156, 1.0, 1.02, 20.0)] == [
        "0.16 tokens per parameter",
        "1 token per parameter",
        "1 token per parameter",
        "20 tokens per parameter",
    ]
