"""What the advice rules look at: the events of a run, its plan and its configuration."""

from typing import NamedTuple

import msgspec

from engine.config.schema import RunConfig
from engine.core.errors import UsageError
from engine.events.history import History
from engine.events.step_columns import StepColumns
from engine.hardware import gpu_catalog
from engine.hardware.gpu_catalog import Gpu
from engine.plan.plan import Plan


class Situation(NamedTuple):
    """The facts behind the advice."""

    history: History
    plan: Plan
    config: RunConfig
    stage: str  # the training stage that `columns` are of
    columns: StepColumns  # at least one step
    working: bool  # whether the stage is running now


def gpu_of(plan: Plan) -> Gpu:
    """The device that a plan is for, with the capacity that the plan assumes."""
    if plan.gpu == "cpu":
        return gpu_catalog.cpu(1, plan.memory.capacity, plan.gpu_name)
    try:
        known = gpu_catalog.by_id(plan.gpu)
    except UsageError:
        known = gpu_catalog.by_name(plan.gpu_name, plan.memory.capacity)
    return msgspec.structs.replace(known, capacity=plan.memory.capacity)
