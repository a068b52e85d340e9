"""What to change when a run does not fit: ranked by what each change costs, each with its predicted peak."""

from collections.abc import Iterator

import msgspec

from engine.plan import memory
from engine.plan.batch import tokens_per_step
from engine.plan.config import RunConfig, depth_is_valid, with_changes
from engine.plan.duration import utilisation
from engine.plan.gpus import GIB, Gpu
from engine.plan.shape import shape_of

Changes = dict[str, int | float | str]


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """One change, as dotted overrides, and its predicted effect."""

    code: str
    message: str
    change: Changes
    peak: int  # bytes, with overhead
    fits: bool
    time_factor: float  # of the step time
    changes_model: bool  # whether what is learned changes, not only how it is computed


def ways_to_fit(config: RunConfig, gpu: Gpu, compiled: bool, scale: float = 1.0) -> list[Suggestion]:
    """Ways to need less memory: those that fit first, then those that leave the model as it is, then the cheapest.

    `scale` corrects the predictions by a measurement: measured peak over predicted peak of a run that failed.
    """
    return sorted(
        (_judge(config, gpu, compiled, scale, *candidate) for candidate in _candidates(config)),
        key=lambda s: (not s.fits, s.changes_model, s.time_factor, s.peak),
    )


def _candidates(config: RunConfig) -> Iterator[tuple[str, str, Changes]]:
    """(code, words, change) of everything that could help."""
    if config.batch.loss == "full":
        yield "chunked_loss", "compute the loss in chunks", {"batch.loss": "chunked"}
    checkpoint: Changes = {"batch.activation_checkpointing": "block"}
    whole = config.batch.activation_checkpointing == "none"
    if whole:
        yield "activation_checkpointing", "checkpoint every block", checkpoint
    size = config.batch.device_batch_size
    while size > 1:
        size //= 2
        # the batch of one step stays what it was, to the token, where the smaller pieces divide it
        smaller: Changes = {"batch.device_batch_size": size, "batch.total_batch_size": tokens_per_step(config)}
        yield "device_batch_size", f"device_batch_size {size} with more accumulation", smaller
        if whole:
            yield "both", f"device_batch_size {size} and checkpoint every block", {**smaller, **checkpoint}
    shorter = config.model.max_seq_len * 3 // 4 // 128 * 128
    if shorter >= 128:
        yield "max_seq_len", f"cut sequences to {shorter} tokens", {"model.max_seq_len": shorter}
    shallower = next((depth for depth in range(config.model.depth - 2, 0, -1) if depth_is_valid(depth)), None)
    if shallower:
        yield "depth", f"drop to depth {shallower}", {"model.depth": shallower}


def _judge(
    config: RunConfig, gpu: Gpu, compiled: bool, scale: float, code: str, words: str, change: Changes
) -> Suggestion:
    changed = with_changes(config, change)
    peak = int(scale * memory.estimate(shape_of(changed), changed.batch, gpu, compiled).total)
    speed_before, speed_after = (tokens_per_flop(c, gpu, compiled) for c in (config, changed))
    return Suggestion(
        code=code,
        message=f"{words}: {peak / GIB:.1f} of {gpu.capacity / GIB:.1f} GiB",
        change=change,
        peak=peak,
        fits=peak <= gpu.capacity,
        time_factor=speed_before / speed_after,
        changes_model=code in ("max_seq_len", "depth"),
    )


def tokens_per_flop(config: RunConfig, gpu: Gpu, compiled: bool) -> float:
    """Proportional to tokens per second on this device."""
    shape = shape_of(config)
    micro = config.batch.device_batch_size * shape.max_seq_len
    blocks = config.batch.activation_checkpointing == "block"
    return utilisation(shape, micro, gpu, compiled, blocks) / shape.flops_per_token
