"""One piece of advice on a run, and the facts that the checks behind it look at."""

import math
import statistics
from typing import Literal, NamedTuple

import msgspec

from engine.errors import UsageError
from engine.plan import gpus
from engine.plan.advice import Changes
from engine.plan.config import RunConfig
from engine.plan.gpus import Gpu
from engine.plan.plan import Plan
from engine.run.history import History
from engine.run.step_columns import StepColumns
from engine.run.verdict import last_columns

Level = Literal["bad", "warn", "hint"]
LEVELS: tuple[Level, ...] = ("bad", "warn", "hint")

WARM_STEPS = 5  # the first steps of a process compile and warm up
RECENT_STEPS = 64  # whose median says how fast a run is now


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
        return gpus.cpu(1, plan.memory.capacity, plan.gpu_name)
    try:
        known = gpus.by_id(plan.gpu)
    except UsageError:
        known = gpus.by_name(plan.gpu_name, plan.memory.capacity)
    return msgspec.structs.replace(known, capacity=plan.memory.capacity)


def measured_peak(history: History, plan: Plan) -> int | None:
    """Bytes at the peak as `plan.memory.total` counts them, from the steps; None where they do not say."""
    known = last_columns(history)
    return peak_of(known[1] if known is not None else None, plan)


def peak_of(columns: StepColumns | None, plan: Plan) -> int | None:
    """The same of one training stage."""
    if columns is None:
        return None
    peaks = [peak for peak in columns.peak_memory[-RECENT_STEPS:] if not math.isnan(peak)]
    if not peaks:
        return None
    # torch counts its tensors; the context, the allocator's slack and the kernels lie beside them. On a CPU the figure
    # is that of the whole process.
    return int(max(peaks)) + (plan.memory.overhead if plan.gpu != "cpu" else 0)


def pace(columns: StepColumns) -> float | None:
    """Median tokens per second of the recent steps; None before the run is warm."""
    recent = columns.tokens_per_second[max(WARM_STEPS, len(columns) - RECENT_STEPS) :]
    return statistics.median(recent) if len(recent) >= WARM_STEPS else None


def data_wait(columns: StepColumns) -> float | None:
    """Share of the recent steps' time spent waiting for data; None before the run is warm."""
    start = max(WARM_STEPS, len(columns) - RECENT_STEPS)
    seconds = sum(columns.step_seconds[start:])
    return sum(columns.data_seconds[start:]) / seconds if len(columns) - start >= WARM_STEPS and seconds > 0 else None
