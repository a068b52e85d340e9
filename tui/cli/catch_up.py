"""What a run did before one began to follow it, in short: most of its steps in one line, and all that is rare."""

from collections import Counter
from typing import Protocol

from engine.events import kinds
from engine.events.kinds import AnyEvent
from engine.events.log import read_events
from engine.events.scores import REWARD
from engine.run.directory import RunDirectory


class Printer(Protocol):
    """Shows events as they come."""

    def show(self, event: AnyEvent) -> None: ...

    def say(self, t: float, line: str) -> None:
        """A line of its own, of the Unix time `t`."""

    def close(self) -> None: ...


def has_line(step: kinds.Step, every: int) -> bool:
    """Whether a step is among those that get a line: each Nth, the first and the last."""
    return step.step % every == 0 or step.step in (1, step.steps)


def lines_before(run: RunDirectory, every: int, last: int) -> int:
    """How many lines of steps there are before the `last` ones; 0 where all are wanted (`last` = 0)."""
    if not last:
        return 0
    steps = sum(isinstance(event, kinds.Step) and has_line(event, every) for event in read_events(run.events_file))
    return max(0, steps - last)


class Abridged:
    """Passes events on to a printer, but for the first `count` lines of steps and what was written among them.

    Of those steps, and of their evaluations, samples and checkpoints, it says how many there were and the newest value.
    Stages, faults and everything else that is rare is passed on.
    """

    def __init__(self, printer: Printer, count: int, every: int) -> None:
        self._printer = printer
        self._count = count
        self._every = every
        self._time = 0.0
        self._steps: list[int] = []  # the first and the last that were passed over since the last line
        self._among: Counter[str] = Counter()
        self._newest: dict[str, float] = {}

    def show(self, event: AnyEvent) -> None:
        if self._count == 0 and not self._steps:
            self._printer.show(event)
        elif self._count > 0 and self._passes_over(event):
            self._time = event.t
        elif not isinstance(event, kinds.System):  # which has no line
            self._sum_up()
            self._printer.show(event)

    def say(self, t: float, line: str) -> None:
        self._printer.say(t, line)

    def close(self) -> None:
        self._printer.close()

    def _passes_over(self, event: AnyEvent) -> bool:
        match event:
            case kinds.Step():
                self._count -= has_line(event, self._every)
                self._steps = [*self._steps[:1], event.step]
                if event.loss is not None and event.stage != "rl":
                    self._newest["loss"] = event.loss
            case kinds.Evaluation() if self._steps:
                self._newest[event.metric] = event.value
                self._among["evaluation"] += event.metric != REWARD  # which every step of rl has
            case kinds.Sample() if self._steps:
                self._among["sample"] += 1
            case kinds.Checkpoint() if self._steps:
                self._among["checkpoint"] += 1
            case _:
                return False
        return True

    def _sum_up(self) -> None:
        if not self._steps:
            return
        first, last = self._steps[0], self._steps[-1]
        parts = [f"steps {first:,} to {last:,}" if last != first else f"step {first:,}"]
        parts += [f"{count:,} {what}{'s' * (count != 1)}" for what, count in self._among.items() if count]
        parts += [f"{metric} {value:.4f} at last" for metric, value in self._newest.items()]
        self._printer.say(self._time, f"{', '.join(parts)} (all of it: --lines 0)")
        self._steps, self._among, self._newest = [], Counter(), {}
