"""What to change when a run does not fit, ranked by cost, each with its predicted peak."""

from collections.abc import Iterator

from engine.config.layers import with_changes
from engine.config.schema import RunConfig, depth_is_valid
from engine.core import formatting
from engine.core.diagnostic import Changes, Diagnostic
from engine.hardware.gpu_catalog import Gpu
from engine.plan import memory
from engine.plan.batch import tokens_per_step
from engine.plan.duration import tokens_per_second
from engine.plan.memory import CHECKPOINTING_MODES, SAFE_HEADROOM
from engine.plan.scaling import CHINCHILLA_TOKENS_PER_PARAM
from engine.plan.shape import shape_of

SEQ_MULTIPLE = 128  # tokens; attention kernels work in tiles of this size
CHECKPOINTING_WORDS = {"selective": "compute pointwise results twice", "block": "compute every block twice"}


class Suggestion(Diagnostic, frozen=True, kw_only=True):
    """A change that needs less memory, with its predicted figures."""

    peak: int  # bytes, with overhead
    fits: bool
    time_factor: float  # time per token, relative to before
    changes_model: bool  # whether what is learned changes, not only how it is computed


def ways_to_fit(config: RunConfig, gpu: Gpu, compiled: bool, scale: float = 1.0) -> list[Suggestion]:
    """Ways to need less memory: those that fit first, then those that leave the model as it is, then the cheapest.

    One that fits with the safe headroom comes before one that only just does. Combinations are left out where another
    way that fits is neither slower nor larger. `scale` corrects the predictions by a measurement: measured peak over
    predicted peak of a run that failed.
    """
    ways = [_judge(config, gpu, compiled, scale, *candidate) for candidate in _candidates(config)]
    kept = [way for way in ways if way.code != "both" or (way.fits and not _is_beaten(way, ways))]
    safe = gpu.capacity * (1 - SAFE_HEADROOM)
    return sorted(kept, key=lambda way: (not way.fits, way.changes_model, way.peak > safe, way.time_factor, way.peak))


def compute_optimal(config: RunConfig, params: int) -> Changes:
    """The setting that this configuration's budget is given by, at the value that is compute-optimal."""
    per_step = tokens_per_step(config)
    steps = -(-CHINCHILLA_TOKENS_PER_PARAM * params // per_step)
    if config.budget.steps is not None:
        return {"budget.steps": steps}
    if config.budget.tokens is not None:
        return {"budget.tokens": steps * per_step}
    return {"budget.tokens_per_param": float(CHINCHILLA_TOKENS_PER_PARAM)}


def _candidates(config: RunConfig) -> Iterator[tuple[str, str, Changes]]:
    """(code, words, change) of everything that could help."""
    if config.batch.loss == "full":
        yield "chunked_loss", "compute the loss in chunks", {"batch.loss": "chunked"}
    given = config.batch.activation_checkpointing
    stronger = CHECKPOINTING_MODES[CHECKPOINTING_MODES.index(given) + 1 :] if given != "auto" else ()
    for mode in stronger:
        yield "activation_checkpointing", CHECKPOINTING_WORDS[mode], {"batch.activation_checkpointing": mode}
    size = config.batch.device_batch_size
    while size > 1:
        size //= 2
        # the batch of one step stays what it was, to the token, where the smaller pieces divide it
        smaller: Changes = {"batch.device_batch_size": size, "batch.total_batch_size": tokens_per_step(config)}
        words = f"device_batch_size {size} with more accumulation"
        yield "device_batch_size", words, smaller
        for mode in stronger:
            change = {**smaller, "batch.activation_checkpointing": mode}
            yield "both", f"{words}, and {CHECKPOINTING_WORDS[mode]}", change
    shorter = config.model.max_seq_len * 3 // 4 // SEQ_MULTIPLE * SEQ_MULTIPLE
    if shorter >= SEQ_MULTIPLE:
        yield "max_seq_len", f"cut sequences to {shorter} tokens", {"model.max_seq_len": shorter}
    shallower = next((depth for depth in range(config.model.depth - 2, 0, -1) if depth_is_valid(depth)), None)
    if shallower:
        yield "depth", f"drop to depth {shallower}", {"model.depth": shallower}


def _judge(
    config: RunConfig, gpu: Gpu, compiled: bool, scale: float, code: str, words: str, change: Changes
) -> Suggestion:
    changed = with_changes(config, change)
    peak = int(scale * memory.estimate(shape_of(changed), changed.batch, gpu, compiled).total)
    before, after = (tokens_per_second(c, gpu, compiled) for c in (config, changed))
    return Suggestion(
        code=code,
        message=f"{words}: {formatting.part_of(peak, gpu.capacity)}",
        change=change,
        peak=peak,
        fits=peak <= gpu.capacity,
        time_factor=before / after,
        changes_model=code in ("max_seq_len", "depth"),
    )


def _is_beaten(way: Suggestion, ways: list[Suggestion]) -> bool:
    """Whether another way that leaves the model alone and fits is at least as fast and as small."""
    return any(
        other is not way
        and other.fits
        and not other.changes_model
        and (other.time_factor, other.peak) != (way.time_factor, way.peak)
        and other.time_factor <= way.time_factor
        and other.peak <= way.peak
        for other in ways
    )
