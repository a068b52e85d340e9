"""The figures: every formula holds the number it explains, for every preset on every kind of device."""

import pytest

from engine.core.formatting import hours_range
from engine.hardware.gpu_catalog import by_id, cpu
from engine.plan.memory import COMPONENTS
from engine.plan.plan import make_plan
from engine.plan.presets import preset_names
from tui.planning.draft import Draft
from tui.planning.formulas import figures
from tui.planning.stage_table import pipeline_range, stage_rows, unknown_reasons
from tui.screens.plan.preview import bar

DEVICES = {"cpu": cpu(2, 8 * 2**30), "a100-40gb": by_id("a100-40gb"), "v100-16gb": by_id("v100-16gb")}


@pytest.mark.parametrize("device", list(DEVICES))
@pytest.mark.parametrize("preset", preset_names())
def test_each_formula_begins_with_or_holds_its_number(preset: str, device: str) -> None:
    gpu = DEVICES[device]
    config = Draft.from_preset(preset).edit({"runtime.price_per_hour": 1.29}).config
    plan = make_plan(config, gpu)
    found = {figure.key: figure for figure in figures(config, gpu, plan)}
    assert len(found) == len(figures(config, gpu, plan))
    assert {
        "params",
        "accum",
        "per_step",
        "steps",
        "tokens",
        "disk",
        "memory",
        "time",
        "cost",
        "pipeline",
        *COMPONENTS,
    } <= set(found)
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


def test_the_table_of_stages_has_a_line_for_each_and_says_what_is_not_known() -> None:
    stages = ("data", "pretrain", "sft", "rl", "report")
    draft = Draft.from_preset("balanced").edit({"pipeline.stages": stages, "rl.device_batch_size": 16})
    plan = make_plan(draft.config, by_id("a100-40gb"))
    rows = stage_rows(plan)
    assert [row.stage for row in rows] == ["data", "pretrain", "sft", "rl"]
    assert max(len(row.line) for row in rows) <= 76 and rows[0].time == "not known"
    assert pipeline_range(plan).endswith("without data")
    assert [reason.partition(":")[0] for reason in unknown_reasons(plan)] == ["data"]
    small = make_plan(draft.config, by_id("v100-16gb"))
    tight = make_plan(draft.edit({"rl.device_batch_size": 512, "rl.samples_per_problem": 512}).config, by_id("l4"))
    assert not stage_rows(small)[3].line.endswith("does not fit")
    assert stage_rows(tight)[3].line.endswith("does not fit")


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (None, None, "not known"),
        (0.0001, 0.0002, "1–2 s"),
        (2 / 3600, 10 / 3600, "2–10 s"),
        (1 / 3600, 119 / 3600, "1–119 s"),
        (0.05, 0.1, "3–6 min"),
        (0.2, 1.36, "0.2–1.4 h"),
        (19.0, 21.0, "19–21 h"),
        (90.0, 96.0, "3.8–4.0 days"),
    ],
)
def test_ranges_are_in_one_unit(low: float | None, high: float | None, text: str) -> None:
    assert hours_range(low, high) == text
