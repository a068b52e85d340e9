"""What the plan of a stage is, and of all stages together: steps, tokens, peak memory, time, each with its basis."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from engine.config.schema import RunConfig
from engine.hardware.gpu_catalog import Gpu
from engine.plan import duration
from engine.plan.calibration import Calibration
from engine.plan.duration import Duration
from engine.plan.memory import Memory
from engine.plan.shape import Shape
from engine.plan.stage_time import START, Span


class StagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage comes to. None where nothing is known before its sources are read; the basis says why."""

    stage: str
    device_batch_size: int | None = None  # sequences, or answers, at a time
    total_batch_size: int | None = None  # tokens, as used
    steps: int | None = None
    tokens: int | None = None  # trained on with padding, judged, or written
    peak_memory: int | None = None  # bytes on the device, with overhead
    peak_phase: str = ""  # the moment of the peak, in words
    fits: bool | None = None
    low_hours: float | None = None
    hours: float | None = None
    high_hours: float | None = None
    cost: float | None = None  # in the currency of runtime.price_per_hour
    memory_basis: str = ""
    time_basis: str = ""


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of all stages whose time is known."""

    low_hours: float | None = None
    hours: float | None = None
    high_hours: float | None = None
    cost: float | None = None
    uncounted: tuple[str, ...] = ()  # stages whose time is not in it


class Text(NamedTuple):
    """What is known about the corpus before it is read."""

    chars: int | None
    tokens: int | None
    download_bytes: int


class Given(NamedTuple):
    """What plans of stages follow from: the configuration with `auto` as it stands, and the plan of pretraining."""

    config: RunConfig
    gpu: Gpu
    shape: Shape
    compiled: bool
    calibration: Calibration
    checkpoint_bytes: int
    text: Text
    memory: Memory
    time: Duration
    steps: int
    tokens: int


def whole_pipeline(stages: Sequence[StagePlan]) -> Pipeline:
    """The sum of what is known."""
    timed = [stage for stage in stages if stage.hours is not None]
    uncounted = tuple(stage.stage for stage in stages if stage.hours is None)
    if not timed:
        return Pipeline(uncounted=uncounted)
    costs = [stage.cost for stage in timed if stage.cost is not None]
    return Pipeline(
        low_hours=sum(stage.low_hours or 0.0 for stage in timed),
        hours=sum(stage.hours or 0.0 for stage in timed),
        high_hours=sum(stage.high_hours or 0.0 for stage in timed),
        cost=sum(costs) if costs else None,
        uncounted=uncounted,
    )


def with_memory(plan: StagePlan, needed: Memory, note: str = "") -> StagePlan:
    """The plan with its peak."""
    basis = f"{needed.basis}; {note}" if note else needed.basis
    return msgspec.structs.replace(
        plan, peak_memory=needed.total, peak_phase=needed.peak_phase, fits=needed.fits, memory_basis=basis
    )


def on_device(plan: StagePlan, given: Given, span: Span, note: str) -> StagePlan:
    """The time of uncompiled work on the device, corrected by what was measured of such."""
    gpu, config = given.gpu, given.config
    evidence = given.calibration.speed(config, gpu, compiled=False)
    correction = evidence.correction
    if gpu.peak_flops <= 0 and correction is None:
        return msgspec.structs.replace(plan, time_basis=duration.unknown_basis(gpu))
    faster, slower = duration.spread(gpu, False, correction)
    scale = 1 / correction.factor if correction else 1.0
    basis = duration.basis_with(evidence, gpu, False)
    spread = START + span.times(scale * (1 - faster), scale, scale * (1 + slower))
    return timed(plan, given, spread, f"{basis}; {note}" if note else basis)


def of_duration(plan: StagePlan, time: Duration) -> StagePlan:
    """The plan with the time of a training run."""
    return msgspec.structs.replace(
        plan,
        low_hours=time.low_hours,
        hours=time.hours,
        high_hours=time.high_hours,
        cost=time.cost,
        time_basis=time.basis,
    )


def timed(plan: StagePlan, given: Given, span: Span, basis: str) -> StagePlan:
    """The plan with its time and cost."""
    low, hours, high = (seconds / 3600 for seconds in span)
    price = given.config.runtime.price_per_hour
    return msgspec.structs.replace(
        plan,
        low_hours=low,
        hours=hours,
        high_hours=high,
        cost=price * hours if price is not None else None,
        time_basis=basis,
    )
