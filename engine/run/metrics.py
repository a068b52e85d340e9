"""Measurements from the steps of a run: peak memory, speed, data wait."""

import math
import statistics

from engine.events.history import History
from engine.events.step_columns import StepColumns
from engine.plan.plan import Plan
from engine.run.status import last_columns

WARM_STEPS = 5  # the first steps of a process compile and warm up


RECENT_STEPS = 64  # their median is the current speed


def measured_peak(history: History, plan: Plan) -> int | None:
    """Bytes at the peak as `plan.memory.total` counts them, measured by the steps; None where unknown."""
    known = last_columns(history)
    return peak_of(known[1] if known is not None else None, plan)


def peak_of(columns: StepColumns | None, plan: Plan) -> int | None:
    """The same of one training stage."""
    if columns is None:
        return None
    peaks = [peak for peak in columns.peak_memory[-RECENT_STEPS:] if not math.isnan(peak)]
    if not peaks:
        return None
    # torch counts its tensors; the context, the allocator's slack and the kernels come on top. On a CPU the figure
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
