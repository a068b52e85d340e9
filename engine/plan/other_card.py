"""A warning where a plan is for another card than this machine's, with the figures of both and the fix."""

from collections.abc import Callable

import msgspec

from engine.config.schema import RunConfig
from engine.core import formatting
from engine.core.diagnostic import Diagnostic
from engine.hardware.gpu_catalog import Gpu
from engine.plan.calibration import Calibration
from engine.plan.plan import Plan, make_plan

OTHER_CARD = "other_gpu"  # code of the warning


def plan_for(config: RunConfig, gpu: Gpu, found: Gpu | None, calibration_of: Callable[[Gpu], Calibration]) -> Plan:
    """The plan for `gpu`, with a warning first where this machine has another card, `found`. Without a GPU there is no
    warning: to plan for a card of another machine is intended then."""
    plan = make_plan(config, gpu, calibration_of(gpu))
    if found is None or not gpu.is_cuda or found.id == gpu.id:
        return plan
    if not plan.peak_memory:  # no stage uses a GPU
        return plan
    here = make_plan(config, found, calibration_of(found))
    return msgspec.structs.replace(plan, warnings=(other_card(plan, here), *plan.warnings))


def other_card(plan: Plan, here: Plan) -> Diagnostic:
    """The figures of this machine's card, and of the card that the plan is for."""
    return Diagnostic(
        code=OTHER_CARD,
        message=f"this machine has {figures_of(here)}; the plan is for {figures_of(plan)}.",
        help="plan for this machine's card: --gpu auto",
        change={"runtime.gpu": "auto"},
    )


def figures_of(plan: Plan) -> str:
    """A card with hours and peak of pretraining, or of all stages where that is none of them: `A100-PCIE-40GB: 18.0 h,
    7.6 of 39.5 GiB`."""
    hours = plan.time.hours if plan.pretrains else plan.pipeline.hours
    need = plan.memory.total if plan.pretrains else plan.peak_memory
    capacity = plan.memory.capacity
    time = "time not predicted" if hours is None else formatting.about_hours(hours)
    fits = "" if need <= capacity else ", does not fit"
    peak = formatting.part_of(need, capacity)
    return f"{plan.gpu_name.removeprefix('NVIDIA ')}: {time}, {peak}{fits}"
