"""One piece of advice on a run, and the facts that the checks behind it look at."""

from typing import Literal, NamedTuple

import msgspec

from engine.config.schema import RunConfig
from engine.core.errors import UsageError
from engine.events.history import History
from engine.events.step_columns import StepColumns
from engine.hardware import gpu_catalog
from engine.hardware.gpu_catalog import Gpu
from engine.plan.advice import Changes
from engine.plan.plan import Plan

Level = Literal["bad", "warn", "hint"]
LEVELS: tuple[Level, ...] = ("bad", "warn", "hint")


class Finding(NamedTuple):
    """One piece of advice."""

    code: str
    level: Level
    message: str  # what is, with its number
    fix: str  # what to do, in words
    change: Changes  # dotted overrides that do it; empty where no setting does
    effect: str  # what that is predicted to bring; empty where it brings nothing

    @property
    def advice(self) -> str:
        """What to do, and what it brings."""
        return f"{self.fix}: {self.effect}" if self.effect else self.fix


class Situation(NamedTuple):
    """What the checks look at."""

    history: History
    plan: Plan
    config: RunConfig
    columns: StepColumns  # of the training stage, at least one step
    working: bool  # whether the run is under way


def gpu_of(plan: Plan) -> Gpu:
    """The device a plan was made for, with the capacity it was planned with."""
    if plan.gpu == "cpu":
        return gpu_catalog.cpu(1, plan.memory.capacity, plan.gpu_name)
    try:
        known = gpu_catalog.by_id(plan.gpu)
    except UsageError:
        known = gpu_catalog.by_name(plan.gpu_name, plan.memory.capacity)
    return msgspec.structs.replace(known, capacity=plan.memory.capacity)
