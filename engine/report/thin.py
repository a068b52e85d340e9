"""Shortens curves for drawing, and keeps their spikes."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

BUCKETS = 450  # across a picture: about one per 1.5 pixels


def envelope(xs: Sequence[float], ys: Sequence[float], buckets: int = BUCKETS) -> tuple[list[float], list[float]]:
    """The smallest and the largest value of each bucket, in order, so that every spike stays. A bucket with values that
    are not numbers keeps one of them, so that the gap stays."""
    count = len(ys)
    if count <= 3 * buckets:
        return list(xs), list(ys)
    values = np.asarray(ys, dtype=np.float64)
    keep: list[int] = []
    for begin, end in pairwise(count * i // buckets for i in range(buckets + 1)):
        stretch = values[begin:end]
        numbers = np.isfinite(stretch)
        chosen = set()
        if numbers.any():
            chosen |= {
                int(np.where(numbers, stretch, np.inf).argmin()),
                int(np.where(numbers, stretch, -np.inf).argmax()),
            }
        if not numbers.all():
            chosen.add(int(numbers.argmin()))
        keep += [begin + place for place in sorted(chosen)]
    return [xs[i] for i in keep], [ys[i] if math.isfinite(ys[i]) else math.nan for i in keep]


def smooth(values: Sequence[float]) -> list[float]:
    """A centered moving average over about a fiftieth of the curve. Values that are not numbers are skipped."""
    keeps = 1 - 1 / max(3.0, len(values) / 100)
    before, after = _averages(values, keeps), _averages(values[::-1], keeps)[::-1]
    return [(one + other) / 2 for one, other in zip(before, after, strict=True)]


def _averages(values: Sequence[float], keeps: float) -> list[float]:
    """The exponential moving average; NaN before the first number."""
    found, mean, weight = [], 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            mean = keeps * mean + (1 - keeps) * value
            weight = keeps * weight + (1 - keeps)
        found.append(mean / weight if weight else math.nan)
    return found


def every(values: Sequence[float], most: int = BUCKETS) -> list[float]:
    """About `most` values at even distances, the last one included: for smooth curves."""
    step = max(1, len(values) // most)
    return [*values[:-1:step], *values[-1:]]
