"""The figures: every formula holds the number it explains, for every preset on every kind of device."""

import pytest

from engine.plan.gpus import by_id, cpu
from engine.plan.plan import make_plan
from engine.plan.presets import preset_names
from tui.planning.draft import Draft
from tui.planning.figures import COMPONENTS, figures
from tui.screens.plan_preview import bar

DEVICES = {"cpu": cpu(2, 8 * 2**30), "a100-40gb": by_id("a100-40gb"), "v100-16gb": by_id("v100-16gb")}


@pytest.mark.parametrize("device", list(DEVICES))
@pytest.mark.parametrize("preset", preset_names())
def test_each_formula_begins_with_or_holds_its_number(preset: str, device: str) -> None:
    gpu = DEVICES[device]
    config = Draft.from_preset(preset).edit({"runtime.price_per_hour": 1.29}).config
    plan = make_plan(config, gpu)
    found = {figure.key: figure for figure in figures(config, gpu, plan)}
    assert len(found) == len(figures(config, gpu, plan))
    assert {"params", "accum", "per_step", "steps", "tokens", "disk", "memory", "time", "cost", *COMPONENTS} <= set(
        found
    )
    assert found["params"].formula.startswith(f"{plan.params.total:,} = ")
    assert found["per_step"].formula.startswith(f"{plan.total_batch_size:,} = ")
    assert f"{plan.steps:,}" in found["steps"].formula
    for figure in found.values():
        assert figure.label and figure.value and figure.formula
        assert "\n" not in figure.formula and len(figure.formula) <= 4 * 76  # the detail pane of 80x24


@pytest.mark.parametrize("width", [20, 33, 60, 200])
@pytest.mark.parametrize("size", [1, 8, 64, 170])
def test_the_bar_fills_exactly_its_width_and_its_parts_are_in_proportion(width: int, size: int) -> None:
    draft = Draft.from_preset("balanced").edit({"batch.device_batch_size": size})
    memory = make_plan(draft.config, by_id("a100-40gb")).memory
    text = bar(memory, width).plain
    assert len(text) == width
    free = text.count("·")
    assert abs(free - max(0.0, width * memory.headroom)) <= 1
    assert ("┃" in text) is not memory.fits
