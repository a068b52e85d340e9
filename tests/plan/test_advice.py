"""Ways to fit: those that fit first, the model kept where it can be, each with the peak it would have."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.layers import from_dict, with_changes
from engine.config.schema import RunConfig
from engine.hardware.gpu_catalog import Gpu, by_id
from engine.plan import memory
from engine.plan.advice import ways_to_fit
from engine.plan.plan import make_plan
from engine.plan.presets import load_preset
from engine.plan.shape import shape_of


def config_of(preset: str = "reference", **changes: Any) -> RunConfig:
    table = load_preset(preset)
    for path, value in changes.items():
        section, key = path.split("__")
        table.setdefault(section, {})[key] = value
    return from_dict(table)


def peak(config: RunConfig, gpu: Gpu) -> int:
    return memory.estimate(shape_of(config), config.batch, gpu, True).total


def test_the_reference_on_40_gb_is_offered_itself_first() -> None:
    config, gpu = config_of(), by_id("a100-40gb")
    first = ways_to_fit(config, gpu, True)[0]
    assert first.fits and not first.changes_model
    changed = with_changes(config, first.change)
    plan = make_plan(changed, gpu)
    assert plan.memory.fits and plan.memory.headroom >= memory.SAFE_HEADROOM
    assert (plan.depth, plan.max_seq_len, plan.total_batch_size) == (20, 2048, 524_288)
    assert changed.budget == config.budget


def test_plan_json_says_that_the_reference_does_not_fit_and_what_to_do() -> None:
    code = "import sys; from tui.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ("plan", "--preset", "reference", "--gpu", "a100-40gb", "--json")
    done = subprocess.run((sys.executable, "-c", code, *words), capture_output=True, text=True, check=True)
    plan = json.loads(done.stdout)
    assert plan["memory"]["fits"] is False
    warning = next(w for w in plan["warnings"] if w["code"] == "does_not_fit")
    assert set(warning["change"]) <= {
        "batch.device_batch_size",
        "batch.total_batch_size",
        "batch.activation_checkpointing",
        "batch.loss",
    }
    assert warning["change"].get("batch.total_batch_size", 524_288) == 524_288


def test_all_ways_of_the_document_are_there() -> None:
    config = config_of(batch__loss="full", batch__device_batch_size=64)
    ways = {way.code: way for way in ways_to_fit(config, by_id("a100-40gb"), False)}
    assert {"chunked_loss", "device_batch_size", "activation_checkpointing", "max_seq_len", "depth"} <= set(ways)
    assert ways["max_seq_len"].change == {"model.max_seq_len": 1536} and ways["max_seq_len"].changes_model
    assert ways["depth"].change == {"model.depth": 18} and ways["depth"].changes_model
    assert not ways["chunked_loss"].changes_model


def test_peaks_and_times_are_those_of_the_changed_plan() -> None:
    config, gpu = config_of(), by_id("a100-40gb")
    before = make_plan(config, gpu)
    for way in ways_to_fit(config, gpu, True):
        after = make_plan(with_changes(config, way.change), gpu)
        assert after.memory.total == way.peak
        assert after.memory.fits == way.fits
        assert after.time.tokens_per_second is not None and before.time.tokens_per_second is not None
        assert way.time_factor == pytest.approx(before.time.tokens_per_second / after.time.tokens_per_second)


def test_halving_keeps_the_step_to_the_token() -> None:
    config, gpu = config_of("balanced"), by_id("a100-40gb")  # 43 micro-batches of 6,144, not what was asked
    for way in ways_to_fit(config, gpu, True):
        if way.code == "device_batch_size":
            assert make_plan(with_changes(config, way.change), gpu).total_batch_size == 264_192


def test_a_measured_failure_scales_the_next_suggestion() -> None:
    config, gpu = config_of("full-40gb"), by_id("a100-40gb")
    plain, scaled = (ways_to_fit(config, gpu, True, scale) for scale in (1.0, 1.8))
    by_change = {str(way.change): way for way in plain}
    assert any(way.fits for way in scaled)
    for way in scaled:
        if str(way.change) in by_change:
            assert way.peak == pytest.approx(1.8 * by_change[str(way.change)].peak, abs=1)
    assert scaled[0].peak <= gpu.capacity


def test_nothing_is_offered_that_is_already_so() -> None:
    config = config_of("largest-80gb")
    codes = {way.code for way in ways_to_fit(config, by_id("a100-40gb"), True)}
    assert not codes & {"chunked_loss", "activation_checkpointing", "both"}


@given(st.sampled_from([2, 8, 12, 20, 32]), st.integers(1, 64), st.sampled_from([128, 640, 2048]))
def test_order_and_validity(depth: int, rows: int, length: int) -> None:
    config = config_of(model__depth=depth, model__max_seq_len=length, batch__device_batch_size=rows)
    ways = ways_to_fit(config, by_id("l4"), True)
    assert [way.fits for way in ways] == sorted((way.fits for way in ways), reverse=True)
    fitting = [way for way in ways if way.fits]
    assert [way.changes_model for way in fitting] == sorted(way.changes_model for way in fitting)
    for way in ways:
        changed = with_changes(config, way.change)  # valid
        assert changed.model.max_seq_len % 128 == 0 or changed.model.max_seq_len == length
        assert peak(changed, by_id("l4")) == way.peak
