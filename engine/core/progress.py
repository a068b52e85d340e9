"""Progress reports of long work in the data stages."""

import time
from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with (done, total, unit); total is 0 where nobody can know it beforehand."""

SECONDS_BETWEEN_REPORTS = 0.25


def silent(done: int, total: int, unit: str) -> None:
    """A progress callback that does nothing."""


class Reporter:
    """Counts finished units and reports progress at most a few times per second."""

    def __init__(self, progress: Progress, total: int, unit: str) -> None:
        self.done = 0
        self._progress = progress
        self._total = total
        self._unit = unit
        self._next = 0.0

    def advance(self, amount: int) -> None:
        """`amount` more units are done."""
        self.reach(self.done + amount)

    def reach(self, done: int) -> None:
        """`done` units are done altogether."""
        self.done = done
        now = time.monotonic()
        if now >= self._next:
            self._next = now + SECONDS_BETWEEN_REPORTS
            self._progress(done, max(done, self._total) if self._total else 0, self._unit)

    def finish(self) -> None:
        """All is done: what was done is the total."""
        self._progress(self.done, self.done, self._unit)
