"""Axes: round trips, ticks, labels and the choice of a y range."""

import struct
from math import isfinite

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tui.chart.scale import Scale, compact, duration, exact, robust_range, settle, short

ENDS = st.floats(-1e300, 1e300)


@given(ENDS, ENDS, st.floats(-0.5, 1.5))
def test_linear_round_trip(a: float, b: float, fraction: float) -> None:
    lo, hi = sorted((a, b))
    assume(hi - lo > max(abs(lo), abs(hi)) * 1e-6 and hi - lo > 1e-250)
    scale = Scale(lo, hi)
    assert (scale.fraction(lo), scale.fraction(hi)) == (0.0, 1.0)
    assert scale.fraction(scale.value(fraction)) == pytest.approx(fraction, abs=1e-6)


@given(st.floats(1e-250, 1e250), st.floats(1.001, 1e50), st.floats(0, 1))
def test_log_round_trip(lo: float, ratio: float, fraction: float) -> None:
    scale = Scale(lo, lo * ratio, log=True)
    assert scale.fraction(scale.value(fraction)) == pytest.approx(fraction, abs=1e-6)
    assert scale.fraction(0.0) == scale.fraction(-1.0) == float("-inf")


@given(ENDS, st.floats(1e-200, 1e300), st.integers(1, 20), st.sampled_from(["number", "count", "duration"]))
def test_ticks_lie_inside_and_increase(lo: float, span: float, count: int, unit: str) -> None:
    hi = lo + span
    assume(hi <= 1e300 and hi - lo > max(abs(lo), abs(hi)) * 1e-9)
    ticks = Scale(lo, hi).ticks(count, unit)
    values = [value for value, _ in ticks]
    assert all(lo <= value <= hi for value in values)
    assert values == sorted(set(values))
    assert len(values) <= count + 1
    assert all(label for _, label in ticks)


@given(st.floats(-200, 200), st.floats(0.01, 90), st.integers(2, 20))
def test_log_ticks_lie_inside_and_increase(exponent: float, decades: float, count: int) -> None:
    lo, hi = 10.0**exponent, 10.0 ** (exponent + decades)
    values = [value for value, _ in Scale(lo, hi, log=True).ticks(count)]
    assert all(lo <= value <= hi for value in values)
    assert values == sorted(set(values))
    assert len(values) <= count + 1


@pytest.mark.parametrize(
    ("lo", "hi", "count", "unit", "labels"),
    [
        (0, 20_000, 5, "count", ["0", "5k", "10k", "15k", "20k"]),
        (0, 3, 10, "count", ["0", "1", "2", "3"]),
        (0, 1.1e10, 6, "count", ["0", "2B", "4B", "6B", "8B", "10B"]),
        (400, 2_600, 5, "count", ["500", "1k", "1.5k", "2k", "2.5k"]),
        (2.4, 3.1, 4, "number", ["2.4", "2.6", "2.8", "3.0"]),
        (-0.1, 0.31, 5, "number", ["-0.1", "0", "0.1", "0.2", "0.3"]),
        (0, 9_500, 6, "duration", ["0", "30m", "1h", "1h 30m", "2h", "2h 30m"]),
        (0, 200_000, 5, "duration", ["0", "12h", "1d", "1d 12h", "2d"]),
        (0, 40, 5, "duration", ["0", "10s", "20s", "30s", "40s"]),
    ],
)
def test_labels(lo: float, hi: float, count: int, unit: str, labels: list[str]) -> None:
    assert [label for _, label in Scale(lo, hi).ticks(count, unit)] == labels


def test_log_labels() -> None:
    assert [label for _, label in Scale(0.001, 100, log=True).ticks(6)] == ["0.001", "0.01", "0.1", "1", "10", "100"]
    assert [label for _, label in Scale(2.4, 3.3, log=True).ticks(4)] == ["2.5", "3.0"]


def test_numbers_in_words() -> None:
    assert [compact(v, 1) for v in (0, 999, 1_000, -2_000_000, 3e12)] == ["0", "999", "1k", "-2M", "3T"]
    assert compact(1e18, 1e17) == "1e+18"
    assert [duration(s) for s in (0, 0.25, 59, 3600, 93_600)] == ["0", "0.25s", "59s", "1h", "1d 2h"]
    assert [short(v) for v in (2.71349, 61_204.4, 0.5, 1.234e-5, 123.45)] == [
        "2.713",
        "61,204",
        "0.500",
        "1.23e-05",
        "123.5",
    ]
    assert exact(12_000.0) == "12,000"
    assert exact(2.713400363922119) == "2.7134004"  # a float32 read back as float64
    assert exact(0.1) == "0.1"
    assert exact(float("nan")) == "nan"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_exact_loses_nothing(value: float) -> None:
    read = float(exact(value).replace(",", ""))
    single = abs(value) < 3e38 and struct.unpack("f", struct.pack("f", value))[0] == value
    assert read == value or (single and struct.pack("f", read) == struct.pack("f", value))


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(FINITE, FINITE), max_size=70), st.booleans())
def test_any_values_give_a_usable_range(pairs: list, log: bool) -> None:
    lo, hi = robust_range([min(pair) for pair in pairs], [max(pair) for pair in pairs], log)
    assert isfinite(lo)
    assert isfinite(hi)
    assert lo < hi
    assert lo > 0 or not log
    scale = Scale(lo, hi, log)
    assert scale.ticks(8) or log
    assert all(-1e6 <= scale.row_of(40)(value) <= 1e6 for pair in pairs for value in pair)


def test_the_first_fall_of_a_loss_is_left_outside_but_a_trend_is_not() -> None:
    losses = [11.0, 9.0, 4.0] + [3.5 - i / 100 for i in range(60)]
    lo, hi = robust_range(losses, losses)
    assert 2.8 < lo < 2.91
    assert 3.5 < hi < 4.0
    trend = [float(i) for i in range(60)]
    lo, hi = robust_range(trend, trend)
    assert lo < 0 < 59 < hi


def test_all_equal_values_sit_in_the_middle() -> None:
    for value in (0.0, 5.0, -3e-5, 1e250):
        lo, hi = robust_range([value], [value])
        assert Scale(lo, hi).fraction(value) == pytest.approx(0.5)


def test_a_range_stays_until_it_no_longer_fits() -> None:
    current = Scale(0, 10)
    assert settle(current, Scale(1, 9)) is current
    assert settle(current, Scale(0, 12)) == Scale(0, 12)
    assert settle(current, Scale(4, 6)) == Scale(4, 6)
    assert settle(current, Scale(1, 9, log=True)) == Scale(1, 9, log=True)
