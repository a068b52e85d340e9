"""A growing series of samples that answers min/max questions over any window without visiting every sample."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf, isfinite, nan
from typing import NamedTuple

BLOCK = 32  # entries of one pyramid level that one entry of the next level sums up


class Column(NamedTuple):
    """What one column of a chart has to show of a series."""

    low: float  # smallest finite value; +inf when there is none
    high: float  # largest finite value; -inf when there is none
    finite: int  # how many values are finite
    has_nonfinite: bool
    first: float  # the first and the last value as stored, NaN where the column is empty
    last: float


EMPTY = Column(inf, -inf, 0, False, nan, nan)


class Pyramid:
    """Values with the min and max of every 32, 1024, 32768, ... of them, non-finite values kept out of both."""

    def __init__(self) -> None:
        self.values = array("d")
        self._lows: list[array[float]] = []  # [k][i]: over values[i * 32 ** (k + 1)] and the 32 ** (k + 1) - 1 after it
        self._highs: list[array[float]] = []
        self._nonfinite = array("q")  # where the non-finite values are, increasing

    def __len__(self) -> int:
        return len(self.values)

    def append(self, value: float) -> None:
        """Amortised O(1)."""
        self.values.append(value)
        size = len(self.values)
        if not isfinite(value):
            self._nonfinite.append(size - 1)
        if size % BLOCK == 0:
            self._close_block()

    def extend(self, values: Sequence[float]) -> None:
        """Like `append` for each, at a fraction of the cost."""
        start = len(self.values)
        self.values.extend(values)
        for i in range(start - start % BLOCK, len(self.values), BLOCK):
            # One sum tells that a whole block is finite; an overflowing sum only means a closer look.
            if not isfinite(sum(self.values[i : i + BLOCK])):
                stop = min(i + BLOCK, len(self.values))
                self._nonfinite.extend(j for j in range(max(i, start), stop) if not isfinite(self.values[j]))
        for _ in range(len(self.values) // BLOCK - start // BLOCK):
            self._close_block()

    def truncate(self, size: int) -> None:
        """Keeps the first `size` values."""
        del self.values[size:]
        del self._nonfinite[bisect_left(self._nonfinite, size) :]
        for lows, highs in zip(self._lows, self._highs, strict=True):
            size //= BLOCK
            del lows[size:]
            del highs[size:]

    def nonfinite(self, start: int, stop: int) -> int:
        """How many of values[start:stop] are NaN or infinite."""
        if not self._nonfinite:
            return 0
        return bisect_left(self._nonfinite, stop) - bisect_left(self._nonfinite, start)

    def bounds(self, start: int, stop: int) -> tuple[float, float]:
        """Min and max of the finite values in values[start:stop]; (inf, -inf) when there are none. O(log n)."""
        low, high = inf, -inf
        level = -1
        while start < stop:
            inner_start, inner_stop = -(-start // BLOCK), stop // BLOCK
            if inner_start >= inner_stop:
                pieces = [(start, stop)]
            else:
                pieces = [(start, inner_start * BLOCK), (inner_stop * BLOCK, stop)]
            for a, b in pieces:
                if a < b:
                    piece_low, piece_high = self._piece(level, a, b)
                    low, high = min(low, piece_low), max(high, piece_high)
            if len(pieces) == 1:
                break
            start, stop, level = inner_start, inner_stop, level + 1
        return low, high

    def _piece(self, level: int, start: int, stop: int) -> tuple[float, float]:
        if level >= 0:
            return min(self._lows[level][start:stop]), max(self._highs[level][start:stop])
        values: Sequence[float] = self.values[start:stop]
        if self.nonfinite(start, stop):
            values = [value for value in values if isfinite(value)]
        return min(values, default=inf), max(values, default=-inf)

    def _close_block(self) -> None:
        """Adds the entry of the next full block to level 0, and to each level above whose block that fills."""
        for level in range(len(self._lows) + 1):
            if level == len(self._lows):
                self._lows.append(array("d"))
                self._highs.append(array("d"))
            start = len(self._lows[level]) * BLOCK
            low, high = self._piece(level - 1, start, start + BLOCK)
            self._lows[level].append(low)
            self._highs[level].append(high)
            if len(self._lows[level]) % BLOCK:
                return


class Ema:
    """The debiased exponential moving average of a pyramid's values, kept up to date as they grow.

    m <- w m + (1 - w) y, shown as m / (1 - w^k) after k finite values (Kingma and Ba 2015, section 3). A non-finite
    value gives NaN here and leaves the average as it was.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.smoothed = Pyramid()

    def catch_up(self, source: Pyramid) -> Pyramid:
        """The averages of all of `source`; visits only the values added since the last call."""
        done = len(self.smoothed)
        if done < len(source):
            weight, rest = self.weight, 1.0 - self.weight
            total = 1.0 - weight ** (done - source.nonfinite(0, done))
            mean = self._last_finite() * total
            fresh = array("d")
            for value in source.values[done:]:
                if value - value == 0.0:  # finite
                    mean = weight * mean + rest * value
                    total = weight * total + rest
                    fresh.append(mean / total)
                else:
                    fresh.append(nan)
            self.smoothed.extend(fresh)
        return self.smoothed

    def _last_finite(self) -> float:
        return next((value for value in reversed(self.smoothed.values) if isfinite(value)), 0.0)


class Series:
    """Samples y over one or several x axes (say step, tokens, seconds), x never decreasing.

    The first axis is the primary one. A sample whose primary x lies before the last one means that a run continued from
    an earlier point: everything from there on is replaced. Other axes cannot go back; what does is held at the last x.
    A sample without a finite primary x has no place on the chart and is left out.
    """

    def __init__(self, axes: int = 1) -> None:
        self.xs = tuple(array("d") for _ in range(axes))
        self.raw = Pyramid()
        self.truncations = 0  # grows when samples are dropped, so that a reader knows its index is void
        self._ema: Ema | None = None

    def __len__(self) -> int:
        return len(self.raw)

    def append(self, y: float, *xs: float) -> None:
        """Adds one sample with its x on each axis. Raises ValueError when an axis is missing."""
        if len(xs) != len(self.xs):
            raise ValueError(f"a sample of this series needs {len(self.xs)} x values, got {len(xs)}")
        if not isfinite(xs[0]):
            return
        if self.xs[0] and xs[0] < self.xs[0][-1]:
            self.truncate_from(xs[0])
        for known, x in zip(self.xs, xs, strict=True):
            last = known[-1] if known else 0.0 if not isfinite(x) else x
            known.append(x if x > last and isfinite(x) else last)
        self.raw.append(y)

    def extend(self, ys: Sequence[float], *xs: Sequence[float]) -> None:
        """Adds samples in order, with one sequence of x per axis, each as long as `ys` (else ValueError)."""
        if len(xs) != len(self.xs) or any(len(x) != len(ys) for x in xs):
            raise ValueError(
                f"extending this series needs {len(self.xs)} sequences of x, each as long as y ({len(ys)})"
            )
        if all(_continues(known, x) for known, x in zip(self.xs, xs, strict=True)):
            for known, x in zip(self.xs, xs, strict=True):
                known.extend(x)
            self.raw.extend(ys)
        else:
            for y, *x in zip(ys, *xs, strict=True):
                self.append(y, *x)

    def truncate_from(self, x: float) -> None:
        """Drops every sample at or after `x` on the primary axis."""
        size = bisect_left(self.xs[0], x)
        if size == len(self):
            return
        for known in self.xs:
            del known[size:]
        self.raw.truncate(size)
        if self._ema is not None:
            self._ema.smoothed.truncate(size)
        self.truncations += 1

    def values(self, smoothing: float = 0.0) -> Pyramid:
        """The values as they came, or their moving average of weight `smoothing` (0 <= smoothing < 1)."""
        if smoothing <= 0.0:
            return self.raw
        if self._ema is None or self._ema.weight != smoothing:
            self._ema = Ema(smoothing)
        return self._ema.catch_up(self.raw)

    def span(self, x0: float, x1: float, axis: int = 0) -> tuple[int, int]:
        """The indices [start, stop) of the samples with x0 <= x <= x1."""
        return bisect_left(self.xs[axis], x0), bisect_right(self.xs[axis], x1)

    def nearest(self, x: float, axis: int = 0) -> int:
        """The index of the sample nearest to x, the later of two equally near; -1 when there are none."""
        known = self.xs[axis]
        after = bisect_left(known, x)
        if after == len(known) or (after and x - known[after - 1] < known[after] - x):
            return after - 1
        return after

    def columns(
        self, x0: float, x1: float, n: int, *, axis: int = 0, first: int = 0, smoothing: float = 0.0
    ) -> list[Column]:
        """The columns first..n-1 of the window x0 <= x <= x1 cut into n equal parts, each closed on its left.

        O((n - first) log size), whatever the number of samples in the window.
        """
        known, pyramid = self.xs[axis], self.values(smoothing)
        values, width = pyramid.values, x1 - x0
        columns: list[Column] = []
        start = bisect_left(known, x0 + width * first / n) if n > first else 0
        for i in range(first + 1, n + 1):
            if start == len(known):
                return columns + [EMPTY] * (n + 1 - i)
            stop = bisect_left(known, x0 + width * i / n, start) if i < n else bisect_right(known, x1, start)
            if start == stop:
                columns.append(EMPTY)
                continue
            low, high = pyramid.bounds(start, stop)
            gaps = pyramid.nonfinite(start, stop)
            columns.append(Column(low, high, stop - start - gaps, gaps > 0, values[start], values[stop - 1]))
            start = stop
        return columns


def _continues(known: Sequence[float], fresh: Sequence[float]) -> bool:
    """Whether `fresh` can be appended as it is: finite, sorted and not before what is known."""
    if not len(fresh):
        return True
    ordered = list(fresh)
    return isfinite(sum(ordered)) and ordered == sorted(ordered) and (not known or ordered[0] >= known[-1])
