"""The presets: the strategy document's numbers as they stand there, and ours with the promises they make."""

from pathlib import Path

import msgspec
import pytest

from engine.config.layers import from_dict, to_toml, with_changes
from engine.core.errors import UsageError
from engine.core.units import GIB
from engine.hardware.gpu_catalog import by_id
from engine.plan import budget_search
from engine.plan.memory import SAFE_HEADROOM
from engine.plan.plan import Plan, make_plan
from engine.plan.presets import load_preset, preset_for, preset_names


def plan_of(name: str) -> Plan:
    config = from_dict(load_preset(name))
    return make_plan(config, by_id(config.runtime.gpu))


@pytest.mark.parametrize(
    ("name", "depth", "length", "rows", "total", "gpu", "hours"),
    [
        ("conservative", 12, 1024, 4, 131_072, "a100-40gb", (8, 12)),
        ("balanced", 14, 1536, 4, 262_144, "a100-40gb", (12, 16)),
        ("aggressive", 16, 2048, 8, 524_288, "a100-80gb", (16, 24)),
        ("maximum", 18, 2048, 8, 524_288, "a100-80gb", (20, 30)),
    ],
)
def test_the_documents_presets(
    name: str, depth: int, length: int, rows: int, total: int, gpu: str, hours: tuple[float, float]
) -> None:
    config = from_dict(load_preset(name))
    assert (config.model.depth, config.model.max_seq_len) == (depth, length)
    assert (config.batch.device_batch_size, config.batch.total_batch_size) == (rows, total)
    assert config.budget.tokens_per_param == 20 and config.runtime.gpu == gpu
    assert config.about.expected_hours == hours


def test_smoke_is_the_documents_first_test() -> None:
    config = from_dict(load_preset("smoke"))
    assert (config.model.depth, config.batch.device_batch_size, config.model.max_seq_len) == (8, 2, 512)
    assert config.budget.steps == 10


@pytest.mark.parametrize("name", ["full-40gb", "full-80gb"])
def test_the_whole_d20_fits_and_nothing_that_fits_is_faster(name: str) -> None:
    config = from_dict(load_preset(name))
    gpu = by_id(config.runtime.gpu)
    plan = make_plan(config, gpu)
    assert (plan.depth, plan.max_seq_len, plan.total_batch_size) == (20, 2048, 524_288)
    assert plan.memory.headroom >= SAFE_HEADROOM
    fastest = max(fit.tokens_per_second for fit in budget_search.fits(config, gpu) if fit.safe)
    assert plan.time.tokens_per_second == pytest.approx(fastest)


def test_the_largest_fits_and_the_next_depth_does_not() -> None:
    config = from_dict(load_preset("largest-80gb"))
    gpu = by_id("a100-80gb")
    assert make_plan(config, gpu).memory.headroom >= SAFE_HEADROOM
    deeper = with_changes(config, {"model.depth": config.model.depth + 2, "batch.device_batch_size": 1})
    assert make_plan(deeper, gpu).memory.headroom < SAFE_HEADROOM


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_names_itself_and_fits_where_it_says(name: str) -> None:
    config = from_dict(load_preset(name))
    assert config.about.preset == name and config.about.description
    if config.runtime.gpu not in ("auto", "cpu"):
        assert plan_of(name).memory.fits


def test_the_users_own_presets_come_last(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(to_toml(from_dict({"model": {"depth": 4}})))
    assert preset_names(tmp_path)[-1] == "mine"
    assert from_dict(load_preset("mine", tmp_path)).model.depth == 4


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean balanced"):
        load_preset("balnced")


def test_a_preset_is_chosen_by_the_gpu() -> None:
    assert preset_for(None).name == "quickstart"
    assert preset_for(by_id("a100-40gb")).name == "balanced"
    assert preset_for(by_id("a100-80gb")).name == "maximum"
    assert preset_for(by_id("l4")).name == "conservative"
    laptop = msgspec.structs.replace(by_id("l4"), name="NVIDIA GeForce RTX 3050 Laptop GPU", capacity=4 * GIB)
    assert preset_for(laptop).name == "quickstart"
