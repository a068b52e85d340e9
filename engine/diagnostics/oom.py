"""Why a run ran out of memory: what it had, what it needed by part and phase, and the fixes, ranked."""

from typing import NamedTuple

from engine.config.schema import RunConfig
from engine.core.errors import UsageError
from engine.diagnostics.situation import gpu_of
from engine.events.history import History
from engine.plan.advice import Suggestion, ways_to_fit
from engine.plan.memory import Memory
from engine.plan.plan import Plan
from engine.run.status import last_columns

OUTCOMES = ("out_of_memory", "out_of_host_memory")


class PostMortem(NamedTuple):
    """What is known about the failure. Bytes; None where it is unknown."""

    step: int  # the last step that is known to have failed; 0: the first
    phase: str
    requested: int | None
    allocated: int | None
    capacity: int | None
    needed: int | None  # at least, with overhead
    predicted: Memory | None
    scale: float  # what was needed over what was predicted, at least 1 where it ran out all the same
    checkpoint: int | None  # the step to continue from
    ways: tuple[Suggestion, ...]


def ran_out(history: History) -> bool:
    """Whether the run ended because memory ran out."""
    return history.ended is not None and history.ended.outcome in OUTCOMES


def post_mortem(history: History, plan: Plan | None, config: RunConfig | None) -> PostMortem:
    """The facts about the last time that memory ran out, and the fixes."""
    event = history.out_of_memory[-1] if history.out_of_memory else None
    known = last_columns(history)
    step = event.step if event is not None else known[1].step[-1] if known is not None else 0
    allocated = event.allocated if event is not None else None
    requested = event.requested if event is not None else None
    capacity = event.capacity if event is not None else plan.memory.capacity if plan is not None else None
    needed = _needed(allocated, requested, capacity, plan)
    # The run needed more memory than there is, whatever was predicted: a fix must not assume less.
    scale = max(1.0, needed / plan.memory.total) if plan is not None and needed is not None else 1.0
    kept = [c.step for c in history.checkpoints if known is None or c.stage == known[0]]
    return PostMortem(
        step=step,
        phase=event.phase if event is not None else "",
        requested=requested,
        allocated=allocated,
        capacity=capacity,
        needed=needed,
        predicted=plan.memory if plan is not None else None,
        scale=scale,
        checkpoint=max(kept) if kept else None,
        ways=_ways(plan, config, scale),
    )


def _needed(allocated: int | None, requested: int | None, capacity: int | None, plan: Plan | None) -> int | None:
    """At least the memory held and requested, with the overhead that torch does not see, and at least the capacity."""
    if plan is None:
        return capacity
    held = (allocated or 0) + (requested or 0)
    overhead = plan.memory.overhead if plan.gpu != "cpu" else 0
    known = [held + overhead if held else 0, capacity or plan.memory.capacity]
    return max(known)


def _ways(plan: Plan | None, config: RunConfig | None, scale: float) -> tuple[Suggestion, ...]:
    if plan is None or config is None:
        return ()
    try:
        return tuple(ways_to_fit(config, gpu_of(plan), plan.compiled, scale))
    except UsageError:
        return ()  # a configuration at the very edge: nothing smaller is valid
