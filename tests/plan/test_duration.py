"""The time model: counts that can be checked by hand, its agreement with published runs, and how it responds."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.layers import from_dict
from engine.config.schema import BatchConfig, RunConfig
from engine.hardware.gpu_catalog import by_id, by_name, cpu
from engine.plan import duration, roofline, work
from engine.plan.plan import make_plan
from engine.plan.presets import load_preset
from engine.plan.shape import Shape

ROOT = Path(__file__).parents[2]
D20 = Shape(depth=20, width=1280, heads=10, vocab_size=65_536, max_seq_len=2048)


@pytest.fixture(scope="module")
def published() -> ModuleType:
    spec = importlib.util.spec_from_file_location("published_speed", ROOT / "bench" / "published_speed.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def config_of(preset: str = "full-40gb", **changes: Any) -> RunConfig:
    table = load_preset(preset)
    for path, value in changes.items():
        section, key = path.split("__")
        table.setdefault(section, {})[key] = value
    return from_dict(table)


def rate(config: RunConfig, gpu: str = "a100-40gb", compiled: bool = True) -> float:
    return duration.tokens_per_second(config, by_id(gpu), compiled)


def test_every_comparable_published_run_is_predicted_within_15_percent(published: ModuleType) -> None:
    errors = {row.source + row.gpu: published.predict(row) / row.rate - 1 for row in published.comparable()}
    assert len(errors) >= 18
    assert {name: error for name, error in errors.items() if abs(error) > published.LIMIT} == {}


def test_a100_rows_are_left_out_only_with_a_reason(published: ModuleType) -> None:
    assert all(row.verdict or row.gpu.startswith("a100") for row in published.PUBLISHED)
    assert len({row.gpu for row in published.comparable()}) == 3


def test_the_tables_in_the_documentation_are_those_of_today(published: ModuleType) -> None:
    page = (ROOT / "docs" / "time.md").read_text()
    assert page == published.with_tables(page), "run: python bench/published_speed.py --write"


def test_matmul_flops_are_six_per_weight_and_attention_is_causal() -> None:
    batch = BatchConfig(device_batch_size=4, loss="full")
    counted = work.micro_batch(D20, batch, "none", work.COMPILED, 2)
    tokens, params = 4 * 2048, D20.params
    assert counted.matmul == 6 * tokens * (params.matrices + params.lm_head)
    # 7 T d a token and block: 2 forward, 5 backward with the scores computed again
    assert counted.attention == 7 * tokens * 2048 * 1280 * 20


def test_forward_alone_is_a_third_of_the_products() -> None:
    batch = BatchConfig(device_batch_size=4)
    training = work.micro_batch(D20, batch, "none", work.COMPILED, 2)
    forward = work.micro_batch(D20, batch, "none", work.COMPILED, 2, training=False)
    assert forward.matmul == pytest.approx(training.matmul / 3)
    assert forward.attention == pytest.approx(training.attention * 2 / 7)


def test_block_checkpointing_repeats_the_forward_pass_and_selective_none_of_its_products() -> None:
    batch = BatchConfig(device_batch_size=4)
    none, selective, block = (
        work.micro_batch(D20, batch, mode, work.COMPILED, 2) for mode in ("none", "selective", "block")
    )
    assert selective.matmul == none.matmul and selective.moved > none.moved
    assert block.matmul - none.matmul == 2 * 4 * 2048 * D20.params.matrices


def test_newton_schulz_flops() -> None:
    one = work.optimizer_step(Shape(depth=1, width=64, heads=1, vocab_size=266, max_seq_len=16), 4)
    # four d x d: 5 x 3 products of 2 d^3; two d x 4 d: 5 x (4 + 1 + 4) of them
    assert one.matmul == 4 * 5 * 3 * 2 * 64**3 + 2 * 5 * 9 * 2 * 64**3


def test_seconds_add_compute_and_memory() -> None:
    gpu = by_id("a100-80gb")
    rates = roofline.Rates(matmul=0.5, attention=0.25, bandwidth=1.0, kernel_seconds=1.0, launch_seconds=5.0)
    amount = work.Work(matmul=156e12, attention=78e12, moved=2039e9, kernels=3)
    assert roofline.seconds(amount, gpu, rates) == pytest.approx(1 + 1 + 1 + 3)
    assert roofline.seconds(amount, gpu, rates, compiled=False) == 15  # the host starts three in fifteen seconds


def test_40_gb_are_slower_by_their_bandwidth_alone() -> None:
    config = config_of()
    assert by_id("a100-40gb").speed == by_id("a100-80gb").speed
    assert 0.85 < rate(config, "a100-40gb") / rate(config, "a100-80gb") < 0.97


def test_eager_checkpointing_and_small_batches_cost_time() -> None:
    config = config_of()
    assert rate(config, compiled=False) < rate(config)
    block = config_of(batch__activation_checkpointing="block")
    selective = config_of(batch__activation_checkpointing="selective")
    assert rate(block) < rate(selective) < rate(config)
    assert 1.15 < rate(config) / rate(block) < 1.34
    assert rate(config_of(batch__device_batch_size=1)) < 0.9 * rate(config)


@given(st.sampled_from([2, 4, 8, 12, 20, 32]), st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([256, 1024, 2048]))
def test_speed_never_passes_what_the_device_can_do(depth: int, rows: int, length: int) -> None:
    config = config_of(model__depth=depth, model__max_seq_len=length, batch__device_batch_size=rows)
    plan = make_plan(config, by_id("a100-80gb"))
    assert plan.time.mfu is not None and 0 < plan.time.mfu < 0.87
    deeper = config_of(model__depth=2 * depth, model__max_seq_len=length, batch__device_batch_size=rows)
    assert rate(deeper) < rate(config)


def test_parts_add_up_and_steps_cost_in_proportion() -> None:
    config, gpu = config_of(), by_id("a100-40gb")
    one, two = (
        duration.estimate(config, gpu, compiled=True, steps=steps, checkpoint_bytes=10**9) for steps in (1000, 2000)
    )
    assert one.hours is not None and sum(one.parts.values()) == pytest.approx(3600 * one.hours)
    assert two.parts["training"] == pytest.approx(2 * one.parts["training"])
    assert one.low_hours is not None and one.high_hours is not None and one.low_hours < one.hours < one.high_hours
    assert one.step_seconds == pytest.approx((one.parts["training"] + one.parts["optimizer"]) / 1000)


def test_evaluations_and_checkpoints_are_counted_as_they_happen() -> None:
    config = config_of(evaluate__every_steps=100, checkpoint__every_steps=300)
    found = duration.estimate(config, by_id("a100-40gb"), compiled=True, steps=1000, checkpoint_bytes=10**9)
    assert found.parts["checkpoints"] == pytest.approx(4.0)  # after 300, 600, 900 and 1,000
    each = config.evaluate.tokens * duration.evaluation_seconds_per_token(config, by_id("a100-40gb"), True)
    assert found.parts["evaluation"] == pytest.approx(11 * each)  # before the first step, and ten


def test_cost_and_energy_follow_the_hours() -> None:
    plan = make_plan(config_of(runtime__price_per_hour=1.29), by_id("a100-40gb"))
    assert plan.time.hours is not None
    assert plan.time.cost == pytest.approx(1.29 * plan.time.hours)
    assert plan.time.energy_kwh == pytest.approx(0.4 * plan.time.hours)


def test_a_card_without_figures_has_no_time_but_ratios() -> None:
    unknown = by_name("NVIDIA X1", 80 * 2**30)
    assert make_plan(config_of(), unknown).time.hours is None
    block = config_of(batch__activation_checkpointing="block")
    assert duration.tokens_per_second(block, unknown, True) < duration.tokens_per_second(config_of(), unknown, True)


def test_the_quickstart_takes_minutes_on_two_cores() -> None:
    plan = make_plan(config_of("quickstart"), cpu(2, 8 * 2**30))
    assert plan.time.hours is not None and 1 < 60 * plan.time.hours < 15
    faster = make_plan(config_of("quickstart"), cpu(2, 8 * 2**30, wide=True))
    assert faster.time.hours is not None and faster.time.hours < plan.time.hours


def test_basis_says_what_was_not_measured() -> None:
    gpu = by_id("a100-40gb")
    assert "published A100 runs" in make_plan(config_of(), gpu).time.basis
    assert "uncompiled" in make_plan(config_of(runtime__compile="off"), gpu).time.basis
    assert "0.7" in make_plan(config_of(), by_id("h100-80gb")).time.basis
    slow = msgspec.structs.replace(gpu, speed=0.5)
    assert duration.tokens_per_second(config_of(), slow, True) < rate(config_of())


def test_compiling_takes_longer_for_deeper_models_and_is_short_from_the_cache() -> None:
    """27-147 s were seen on two cores for the presets, depths 8 to 44; 17-80 s in published runs of depth 20."""
    assert 27 <= duration.compile_seconds(8) < duration.compile_seconds(44) <= 147
    assert 17 <= duration.compile_seconds(20) <= 80
    for depth in (1, 12, 48):
        assert duration.compile_seconds(depth, warm=True) < duration.compile_seconds(depth)
        assert duration.compile_seconds(depth) < duration.compile_seconds(depth + 1)
    plan = make_plan(config_of(model__depth=20), by_id("a100-80gb"))
    assert plan.time.parts["compile"] == duration.compile_seconds(20)
    eager = make_plan(config_of(model__depth=20, runtime__compile="off"), by_id("a100-80gb"))
    assert eager.time.parts["compile"] == 0
