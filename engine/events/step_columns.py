"""The steps of one stage as columns of numbers: a run of 200,000 steps takes some 20 MB."""

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from operator import lt

from engine.events.kinds import Step


class StepColumns:
    """The steps of one stage as columns, one entry per step, in step order. Values that were not finite are NaN."""

    def __init__(self) -> None:
        self.step = array("q")
        self.tokens = array("q")
        self.time = array("d")
        self.loss = array("d")
        self.grad_norm = array("d")
        self.learning_rate_scale = array("d")
        self.step_seconds = array("d")
        self.data_seconds = array("d")
        self.tokens_per_second = array("d")
        self.mfu = array("d")
        self.peak_memory = array("d")
        self.epoch = array("q")
        self.steps = 0  # planned
        self.rewinds = 0  # grows when earlier steps were declared void: columns that were copied are stale then

    def __len__(self) -> int:
        return len(self.step)

    def append(self, event: Step) -> None:
        """Add a step. A step that is not after the last replaces the tail: the stage went back and repeated it."""
        if self.step and event.step <= self.step[-1]:
            self.forget_after(event.step - 1)
        self.steps = event.steps
        self.step.append(event.step)
        self.tokens.append(event.tokens)
        self.time.append(event.t)
        self.loss.append(_number(event.loss))
        self.grad_norm.append(_number(event.grad_norm))
        self.learning_rate_scale.append(event.learning_rate_scale)
        self.step_seconds.append(event.step_seconds)
        self.data_seconds.append(event.data_seconds)
        self.tokens_per_second.append(event.tokens_per_second)
        self.mfu.append(_number(event.mfu))
        self.peak_memory.append(_number(event.peak_memory))
        self.epoch.append(event.epoch)

    def extend(self, events: Sequence[Step]) -> None:
        """Like `append` for each, at a fraction of the cost where they follow one another."""
        last = self.step[-1] if self.step else -1
        steps = [event.step for event in events]
        if not all(map(lt, [last, *steps], steps)):
            for event in events:
                self.append(event)
            return
        self.steps = events[-1].steps
        self.step.extend(steps)
        self.tokens.extend([event.tokens for event in events])
        self.time.extend([event.t for event in events])
        self.loss.extend([math.nan if event.loss is None else event.loss for event in events])
        self.grad_norm.extend([math.nan if event.grad_norm is None else event.grad_norm for event in events])
        self.learning_rate_scale.extend([event.learning_rate_scale for event in events])
        self.step_seconds.extend([event.step_seconds for event in events])
        self.data_seconds.extend([event.data_seconds for event in events])
        self.tokens_per_second.extend([event.tokens_per_second for event in events])
        self.mfu.extend([math.nan if event.mfu is None else event.mfu for event in events])
        self.peak_memory.extend([math.nan if event.peak_memory is None else event.peak_memory for event in events])
        self.epoch.extend([event.epoch for event in events])

    def forget_after(self, step: int) -> None:
        """Drop the steps beyond `step`."""
        keep = bisect_left(self.step, step + 1)
        if keep == len(self.step):
            return
        self.rewinds += 1
        for column in vars(self).values():
            if isinstance(column, array):
                del column[keep:]

    def recent_seconds(self, count: int = 20) -> float | None:
        """Median seconds of the last `count` steps; None before the second step (the first one compiles)."""
        recent = sorted(self.step_seconds[max(1, len(self) - count) :])
        return recent[len(recent) // 2] if recent else None

    def remaining_seconds(self) -> float | None:
        """Seconds to the last planned step at the recent pace, from the run itself; None while it is not known."""
        pace = self.recent_seconds()
        return (self.steps - self.step[-1]) * pace if pace is not None and self.step else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
