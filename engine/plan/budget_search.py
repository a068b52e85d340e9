"""The batch that fits best, and the best model for a time budget: the lowest predicted loss over depth and tokens."""

import math
from collections.abc import Callable, Iterator

import msgspec

from engine.config.schema import CheckpointingMode, RunConfig, depth_is_valid
from engine.core.diagnostic import Changes
from engine.hardware.gpu_catalog import Gpu
from engine.plan import duration, memory
from engine.plan.batch import tokens_per_step
from engine.plan.calibration import Calibration, corrected
from engine.plan.memory import CHECKPOINTING_MODES, SAFE_HEADROOM
from engine.plan.plan import checkpoint_size, uses_compile
from engine.plan.scaling import predicted_loss
from engine.plan.shape import shape_of

DEPTHS = tuple(depth for depth in range(2, 49) if depth_is_valid(depth) and (depth % 2 == 0 or depth < 8))
SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)  # of the budget, so that it shows what a shorter run would give
WORTHWHILE = 0.005  # a larger batch that gains less is not worth its memory
LARGEST_BATCH = 512  # sequences
FEWEST_STEPS = 100  # below, a run is no training
MANY_STEPS = 10_000  # enough that what comes once does not show
LEVEL = 0.01  # hours that differ by less come from whole steps, and are the same


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """One way to cut a step, and what it would take."""

    device_batch_size: int
    activation_checkpointing: CheckpointingMode
    peak: int  # bytes, with overhead
    headroom: float  # share of the capacity left
    fits: bool
    tokens_per_second: float

    @property
    def safe(self) -> bool:
        """Whether it leaves the headroom that predictions need."""
        return self.headroom >= SAFE_HEADROOM

    @property
    def change(self) -> Changes:
        """The dotted overrides that apply it."""
        return {
            "batch.device_batch_size": self.device_batch_size,
            "batch.activation_checkpointing": self.activation_checkpointing,
        }


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One model that a time budget allows."""

    depth: int
    params: int
    tokens: int
    tokens_per_param: float
    steps: int
    predicted_loss: float  # nats per token, by the scaling law: for comparison
    hours: float
    cost: float | None
    peak: int  # bytes, with overhead
    headroom: float
    tokens_per_second: float
    device_batch_size: int
    activation_checkpointing: CheckpointingMode
    pareto: bool  # whether no other candidate is both as quick and as good
    change: Changes  # the dotted overrides that adopt it


def batch_sizes(config: RunConfig) -> Iterator[int]:
    """Device batches to consider, 1, 2, 4, ...: those that cut the step, as it is used, into whole micro-batches."""
    per_step = tokens_per_step(config)
    size = 1
    while size <= LARGEST_BATCH and size * config.model.max_seq_len <= per_step:
        if per_step % (size * config.model.max_seq_len) == 0:
            yield size
        size *= 2


def largest_batch(config: RunConfig) -> tuple[int, int] | None:
    """(the largest of `batch_sizes`, how many micro-batches of it a step has) where the step cuts no larger one; None
    where only LARGEST_BATCH is in the way."""
    largest = max(batch_sizes(config))
    pieces = tokens_per_step(config) // (largest * config.model.max_seq_len)
    return (largest, pieces) if largest < LARGEST_BATCH else None


def fits(config: RunConfig, gpu: Gpu, calibration: Calibration | None = None) -> list[Fit]:
    """Device batch sizes x checkpointing modes with what the model predicts of each, modes first, smallest first."""
    compiled = uses_compile(config, gpu)
    calibration = calibration or Calibration()
    return [
        _fit(config, gpu, compiled, calibration, mode, size)
        for mode in CHECKPOINTING_MODES
        for size in batch_sizes(config)
    ]


def predict_fit(
    config: RunConfig, gpu: Gpu, mode: CheckpointingMode, size: int, calibration: Calibration | None = None
) -> Fit:
    """What the model predicts of one device batch in one mode."""
    return _fit(config, gpu, uses_compile(config, gpu), calibration or Calibration(), mode, size)


def sweet_spot(found: list[Fit], headroom: float = SAFE_HEADROOM) -> Fit | None:
    """The fastest that leaves this share of the memory; of those as fast within half a percent, the smallest.

    Where none leaves that much: the smallest that fits.
    """
    safe = [fit for fit in found if fit.headroom >= headroom]
    if not safe:
        return min((fit for fit in found if fit.fits), key=lambda fit: fit.peak, default=None)
    best = max(fit.tokens_per_second for fit in safe)
    return min((fit for fit in safe if fit.tokens_per_second >= best * (1 - WORTHWHILE)), key=lambda fit: fit.peak)


def candidates(
    config: RunConfig, gpu: Gpu, hours: float, price: float | None = None, calibration: Calibration | None = None
) -> list[Candidate]:
    """Models that train on `gpu` within `hours`, the lowest predicted loss first; empty where none does.

    Each depth gets its sweet spot of batch and checkpointing, and all the tokens that a share of the budget allows.
    Everything else is as in `config`. `price` an hour, else that of the configuration.
    """
    calibration = calibration or Calibration()
    price = config.runtime.price_per_hour if price is None else price
    found = [
        candidate
        for depth in DEPTHS
        for candidate in _of_depth(_at_depth(config, depth), gpu, hours, price, calibration)
    ]
    return _marked(sorted(found, key=lambda c: (c.predicted_loss, c.hours)))


def best(found: list[Candidate]) -> Candidate | None:
    """The candidate with the lowest predicted loss."""
    return min(found, key=lambda c: (c.predicted_loss, c.hours), default=None)


def _at_depth(config: RunConfig, depth: int) -> RunConfig:
    return msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, depth=depth))


def _with_fit(config: RunConfig, fit: Fit) -> RunConfig:
    batch = msgspec.structs.replace(
        config.batch,
        device_batch_size=fit.device_batch_size,
        activation_checkpointing=fit.activation_checkpointing,
        total_batch_size=tokens_per_step(config),
    )
    return msgspec.structs.replace(config, batch=batch)


def _fit(
    config: RunConfig, gpu: Gpu, compiled: bool, calibration: Calibration, mode: CheckpointingMode, size: int
) -> Fit:
    batch = msgspec.structs.replace(
        config.batch,
        device_batch_size=size,
        activation_checkpointing=mode,
        total_batch_size=tokens_per_step(config),
    )
    changed = msgspec.structs.replace(config, batch=batch)
    counted = memory.estimate(shape_of(changed), batch, gpu, compiled)
    needed = corrected(counted, calibration.peak(changed, gpu, compiled))
    speed = calibration.speed(changed, gpu, compiled).correction
    return Fit(
        device_batch_size=size,
        activation_checkpointing=mode,
        peak=needed.total,
        headroom=needed.headroom,
        fits=needed.fits,
        tokens_per_second=duration.tokens_per_second(changed, gpu, compiled) * (speed.factor if speed else 1.0),
    )


def _largest_safe(config: RunConfig, gpu: Gpu, compiled: bool, calibration: Calibration) -> Iterator[Fit]:
    """The largest safe batch of each mode, and those down to where they cost speed: enough to find the sweet spot."""
    for mode in CHECKPOINTING_MODES:
        fastest = 0.0
        for size in reversed(list(batch_sizes(config))):
            fit = _fit(config, gpu, compiled, calibration, mode, size)
            if not fit.safe:
                continue
            yield fit
            fastest = max(fastest, fit.tokens_per_second)
            if fit.tokens_per_second < fastest * (1 - WORTHWHILE):
                break


def _of_depth(
    config: RunConfig, gpu: Gpu, hours: float, price: float | None, calibration: Calibration
) -> Iterator[Candidate]:
    compiled = uses_compile(config, gpu)
    fit = sweet_spot(list(_largest_safe(config, gpu, compiled, calibration)))
    if fit is None:
        return
    config = _with_fit(config, fit)
    shape, per_step = shape_of(config), tokens_per_step(config)
    checkpoint_bytes = checkpoint_size(shape, gpu)
    evidence = calibration.speed(config, gpu, compiled)

    def hours_of(steps: int) -> float | None:
        return duration.estimate(
            config, gpu, compiled=compiled, steps=steps, checkpoint_bytes=checkpoint_bytes, evidence=evidence
        ).hours

    for share in SHARES:
        steps = steps_within(share * hours, hours_of)
        took = hours_of(steps) if steps >= FEWEST_STEPS else None
        if took is None:
            continue
        tokens = steps * per_step
        yield Candidate(
            depth=shape.depth,
            params=shape.params.total,
            tokens=tokens,
            tokens_per_param=tokens / shape.params.total,
            steps=steps,
            predicted_loss=predicted_loss(shape.params.total, tokens),
            hours=took,
            cost=price * took if price is not None else None,
            peak=fit.peak,
            headroom=fit.headroom,
            tokens_per_second=fit.tokens_per_second,
            device_batch_size=fit.device_batch_size,
            activation_checkpointing=fit.activation_checkpointing,
            pareto=False,
            change={
                "model.depth": shape.depth,
                **fit.change,
                "batch.total_batch_size": per_step,
                "budget.steps": steps,
            },
        )


def steps_within(budget: float, hours_of: Callable[[int], float | None]) -> int:
    """The most steps, to a thousandth, that take at most `budget` hours; 0 where none does, or time is not known.

    `hours_of` is a fixed time and nearly the same for every step, so that two points give it away.
    """
    first, many = hours_of(1), hours_of(MANY_STEPS)
    if first is None or many is None or first > budget:
        return 0
    each = (many - first) / (MANY_STEPS - 1)
    steps = 1 + int((budget - first) / each)
    steps = max(1, steps + int((budget - (hours_of(steps) or 0.0)) / each))
    while steps > 0 and (hours_of(steps) or 0.0) > budget:
        steps -= max(1, steps // 1000)
    return steps


def _marked(found: list[Candidate]) -> list[Candidate]:
    """With `pareto` set: sorted by loss, a candidate is on the front when it is quicker than all that are better."""
    quickest = math.inf
    marked = []
    for candidate in found:
        on_front = candidate.hours < quickest * (1 - LEVEL)
        marked.append(msgspec.structs.replace(candidate, pareto=on_front))
        if on_front:
            quickest = candidate.hours
    return marked
