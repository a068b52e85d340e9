"""Axes: where a value lies between two ends, which values deserve a tick, and how numbers are written."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log10
from typing import Literal

Unit = Literal["number", "count", "duration"]  # duration: seconds

TINIEST = 1e-280  # an axis is not magnified further than this
LIMIT = 1e300  # values beyond are drawn as if they were here, so that differences stay finite
DURATIONS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)  # seconds
SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
OFF_SCALE = 1e6  # rows; further out than any screen


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from lo to hi, lo < hi, both finite; 0 < lo when logarithmic."""

    lo: float
    hi: float
    log: bool = False

    def fraction(self, value: float) -> float:
        """0 at lo, 1 at hi. Values that a logarithmic axis cannot show lie at -infinity."""
        if not self.log:
            return (value - self.lo) / (self.hi - self.lo)
        if value <= 0.0:
            return -inf
        return (log10(value) - log10(self.lo)) / (log10(self.hi) - log10(self.lo))

    def value(self, fraction: float) -> float:
        """The inverse of `fraction`."""
        if not self.log:
            return self.lo + fraction * (self.hi - self.lo)
        return float(10.0 ** (log10(self.lo) + fraction * (log10(self.hi) - log10(self.lo))))

    def row_of(self, rows: int) -> Callable[[float], float]:
        """A function from value to row: hi in the middle of row 0, lo in that of the last, none beyond OFF_SCALE."""
        bottom, fraction = rows - 1, self.fraction

        def row(value: float) -> float:
            return min(max(bottom * (1.0 - fraction(value)), -OFF_SCALE), OFF_SCALE)

        return row

    def ticks(self, count: int, unit: Unit = "number") -> list[tuple[float, str]]:
        """About `count` round values inside [lo, hi], increasing, each with its label."""
        if count < 1:
            return []
        if self.log:
            values = _log_ticks(self.lo, self.hi, count)
            if len(values) >= 2:
                return [(value, compact(value, value)) for value in values]
        step = tick_step((self.hi - self.lo) / count, unit)
        first = ceil(self.lo / step)
        values = []
        for i in range(first, first + 3 * count + 2):
            value = float(f"{i * step:.15g}")  # 3 x 0.1 is meant to be 0.3
            if value > self.hi:
                break
            if value >= self.lo and (not values or value > values[-1]):
                values.append(value)
        if unit == "duration":
            return [(value, duration(value)) for value in values]
        return [(value, compact(value, step)) for value in values]


def tick_step(smallest: float, unit: Unit = "number") -> float:
    """The least round step of at least `smallest`: 1, 2 or 5 times a power of ten, or a round time."""
    if unit == "count":
        smallest = max(smallest, 1.0)
    if unit == "duration" and smallest > 0.5:
        for seconds in DURATIONS:
            if seconds >= smallest:
                return float(seconds)
        return 86400 * tick_step(smallest / 86400)
    exponent = floor(log10(smallest))
    for digit in (1, 2, 5):
        step = float(f"{digit}e{exponent}")
        if step >= smallest * (1 - 1e-9):
            return step
    return float(f"1e{exponent + 1}")


def _log_ticks(lo: float, hi: float, count: int) -> list[float]:
    low, high = floor(log10(lo)), ceil(log10(hi))
    for digits in ((1, 2, 5), (1, 3), (1,)):
        values = [float(f"{digit}e{exponent}") for exponent in range(low, high + 1) for digit in digits]
        values = [value for value in values if lo <= value <= hi]
        if len(values) <= count:
            return values
    return values[:: -(-len(values) // count)]


def compact(value: float, step: float) -> str:
    """A short label, precise to `step`: 0.25, 40, 1.5k, 2M, 10B, 1e+18."""
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 1e15 or size < 1e-4 or step < 1e-6:
        return f"{value:.{min(max(1, floor(log10(size)) - floor(log10(step)) + 1), 9)}g}"
    for factor, suffix in SUFFIXES:
        if size >= factor:
            text = f"{value / factor:.{_decimals(step / factor)}f}"
            return (text.rstrip("0").rstrip(".") if "." in text else text) + suffix
    return f"{value:.{_decimals(step)}f}"


def _decimals(step: float) -> int:
    return min(max(0, -floor(log10(step) + 1e-9)), 12)


def duration(seconds: float) -> str:
    """Elapsed time with the parts that are not zero: 0, 45s, 2h 30m, 1d 4h."""
    if abs(seconds) < 1:
        return f"{seconds:.2g}s" if seconds else "0"
    if abs(seconds) >= 86400e6:
        return f"{seconds / 86400:.3g}d"
    left, parts = round(abs(seconds)), []
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        whole, left = divmod(left, size)
        if whole:
            parts.append(f"{whole}{letter}")
    return ("-" if seconds < 0 else "") + " ".join(parts)


def short(value: float) -> str:
    """Four digits or so, for a title: 2.713, 61,204, 1.2e-05."""
    size = abs(value)
    if not isfinite(value):
        return str(value)
    if size >= 1e9 or 0 < size < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.3f}"


def exact(value: float) -> str:
    """Every digit that was logged: the shortest text that reads back as the same float32, or else float64."""
    if not isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) < 3e38 and struct.unpack("f", struct.pack("f", value))[0] == value:
        for digits in range(1, 10):
            text = f"{value:.{digits}g}"
            if struct.unpack("f", struct.pack("f", float(text)))[0] == value:
                return text
    return repr(value)


def robust_range(lows: Sequence[float], highs: Sequence[float], log: bool = False) -> tuple[float, float]:
    """The y range worth showing of values given as the min and max of each of some equal parts of them, all finite.

    Everything, unless the outermost 6 % of the parts at one end would take more than a third of the height: then
    those are left outside. A margin keeps lines off the frame. Returns two finite numbers, the first the smaller,
    both positive if `log` (values that are not positive do not count then).
    """
    if log:
        highs = [high for high in highs if high > 0]
        lows = [low for low in lows if low > 0] or highs
    if not lows or not highs:
        return (0.1, 1.0) if log else (0.0, 1.0)
    to = _log_clamped if log else _clamp
    bottom, top = sorted(map(to, lows)), sorted(map(to, highs))
    low, high = bottom[0], top[-1]
    inner_low, inner_high = bottom[len(bottom) // 16], top[-1 - len(top) // 16]
    if inner_high > inner_low:
        reach = (inner_high - inner_low) / 2
        low = low if inner_low - low <= reach else inner_low - reach / 5
        high = high if high - inner_high <= reach else inner_high + reach / 5
    largest = max(abs(low), abs(high))
    margin = (high - low) * 0.05
    if margin <= max(largest * 1e-9, TINIEST):  # all equal: a range around the one value
        margin = 0.3 if log else largest * 0.1 if largest > TINIEST else 1.0
    if not log:
        return _clamp(low - margin), _clamp(high + margin)
    return float(10.0 ** max(low - margin, -305.0)), float(10.0 ** min(high + margin, 305.0))


def _clamp(value: float) -> float:
    return min(max(value, -LIMIT), LIMIT)


def _log_clamped(value: float) -> float:
    return min(max(log10(value), log10(TINIEST)), log10(LIMIT))


def settle(current: Scale | None, wanted: Scale) -> Scale:
    """Keeps the present axis while it shows what is wanted at 60 % of its size or more: pictures stand still."""
    if current is None or current.log != wanted.log:
        return wanted
    low, high = current.fraction(wanted.lo), current.fraction(wanted.hi)
    # The margin of `wanted` may stick out a little; the values themselves may not.
    return current if low >= -0.04 and high <= 1.04 and high - low >= 0.6 else wanted
