"""How often and how long each stage ran: a resumed run counts all of its attempts, without the pauses."""

from collections.abc import Sequence
from typing import NamedTuple

from engine.events.kinds import StageEnded


class Attempt(NamedTuple):
    """One start of a stage, until it ended."""

    stage: str
    started: float  # Unix seconds
    seconds: float | None = None  # None: still running, by the events
    outcome: str | None = None  # None: still running, or its end was not recorded
    given_up: bool = False  # the stage was restarted since


def begin(attempts: list[Attempt], stage: str, t: float, last: float | None) -> None:
    """A stage starts at `t`; an open attempt ended unrecorded at the `last` event before."""
    cut_off(attempts, last)
    attempts.append(Attempt(stage, t))


def end(attempts: list[Attempt], event: StageEnded) -> None:
    """A stage ended; the event of its start may be lost."""
    started = event.t - event.seconds
    if attempts and attempts[-1].seconds is None and attempts[-1].stage == event.stage:
        started = attempts.pop().started
    attempts.append(Attempt(event.stage, started, event.seconds, event.outcome))


def cut_off(attempts: list[Attempt], last: float | None) -> None:
    """An open attempt ended at the `last` event: its machine or its runner died."""
    if attempts and attempts[-1].seconds is None:
        open_one = attempts[-1]
        attempts[-1] = open_one._replace(seconds=max(0.0, (last or open_one.started) - open_one.started))


def give_up(attempts: list[Attempt], stage: str) -> None:
    """The stage restarts: its earlier attempts no longer count towards its result."""
    attempts[:] = [each._replace(given_up=True) if each.stage == stage else each for each in attempts]


def of_last_pass(attempts: Sequence[Attempt], stage: str) -> list[Attempt]:
    """The attempts behind the stage's newest result: those since it was last done before, or restarted."""
    own = [attempt for attempt in attempts if attempt.stage == stage and not attempt.given_up]
    done = [place for place, attempt in enumerate(own[:-1]) if attempt.outcome == "done"]
    return own[done[-1] + 1 :] if done else own


def seconds_at_work(attempts: Sequence[Attempt], until: float | None) -> float:
    """Their total time; an attempt that is still running counts until `until`."""
    return sum(_seconds(attempt, until) for attempt in attempts)


class WorkClock:
    """Converts Unix times into seconds of work since the run began, so that pauses leave no gap in a curve."""

    def __init__(self, attempts: Sequence[Attempt], until: float | None) -> None:
        self.spans: list[tuple[str, float, float]] = []  # (stage, begin, end) in seconds of work
        self._starts: list[tuple[float, float]] = []
        total = 0.0
        for attempt in sorted(attempts, key=lambda each: each.started):
            length = _seconds(attempt, until)
            self._starts.append((attempt.started, total))
            self.spans.append((attempt.stage, total, total + length))
            total += length

    def at(self, moments: Sequence[float]) -> list[float]:
        """Seconds of work at each Unix time, in any order."""
        found = []
        place = -1
        for moment in moments:
            while place >= 0 and self._starts[place][0] > moment:
                place -= 1
            while place + 1 < len(self._starts) and self._starts[place + 1][0] <= moment:
                place += 1
            if place < 0:
                found.append(0.0)
                continue
            _, begin, end = self.spans[place]
            found.append(min(end, begin + moment - self._starts[place][0]))
        return found


def _seconds(attempt: Attempt, until: float | None) -> float:
    if attempt.seconds is not None:
        return max(0.0, attempt.seconds)
    return max(0.0, (until or attempt.started) - attempt.started)
