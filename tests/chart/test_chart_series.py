"""Series: bounds, columns, resumes and the moving average against brute force."""

import math
from math import inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.chart.series import BLOCK, EMPTY, Pyramid, Series

VALUES = st.one_of(st.floats(-1e300, 1e300), st.sampled_from([nan, inf, -inf, 0.0, 1.7e308]))


def brute_bounds(values: list[float]) -> tuple[float, float]:
    finite = [value for value in values if isfinite(value)]
    return min(finite, default=inf), max(finite, default=-inf)


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), VALUES),
            st.tuples(st.just("extend"), st.lists(VALUES, max_size=3 * BLOCK)),
            st.tuples(st.just("repeat"), st.tuples(VALUES, st.integers(0, BLOCK * BLOCK))),
            st.tuples(st.just("truncate"), st.floats(0, 1)),
        ),
        max_size=12,
    ),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8),
)
def test_bounds_equal_brute_force_after_any_history(history: list, windows: list) -> None:
    pyramid, known = Pyramid(), []
    for what, argument in history:
        if what == "append":
            pyramid.append(argument)
            known.append(argument)
        elif what == "extend":
            pyramid.extend(argument)
            known.extend(argument)
        elif what == "repeat":
            value, times = argument
            fresh = [value if i % 7 else -value for i in range(times)]
            pyramid.extend(fresh)
            known.extend(fresh)
        else:
            size = int(argument * len(known))
            pyramid.truncate(size)
            del known[size:]
    assert len(pyramid) == len(known)
    for a, b in windows:
        start, stop = sorted((int(a * len(known)), int(b * len(known))))
        assert pyramid.bounds(start, stop) == brute_bounds(known[start:stop])
        assert pyramid.nonfinite(start, stop) == sum(not isfinite(value) for value in known[start:stop])


def test_a_large_pyramid_reads_few_values() -> None:
    class Counting(Pyramid):
        visited = 0

        def _piece(self, level: int, start: int, stop: int) -> tuple[float, float]:
            self.visited += stop - start
            return super()._piece(level, start, stop)

    pyramid = Counting()
    pyramid.extend([float(i % 1000) for i in range(200_000)])
    pyramid.visited = 0
    assert pyramid.bounds(17, 199_983) == (0.0, 999.0)
    assert pyramid.visited < 8 * BLOCK


@given(
    st.lists(st.tuples(st.floats(0, 100), VALUES), max_size=200),
    st.floats(-10, 110),
    st.floats(0.001, 200),
    st.integers(1, 40),
    st.data(),
)
def test_columns_equal_brute_force(samples: list, x0: float, width: float, n: int, data: st.DataObject) -> None:
    samples.sort(key=lambda sample: sample[0])
    series = Series()
    series.extend([y for _, y in samples], [x for x, _ in samples])
    x1 = x0 + width
    columns = series.columns(x0, x1, n)
    assert len(columns) == n
    first = data.draw(st.integers(0, n))
    rest = series.columns(x0, x1, n, first=first)
    assert [str(column) for column in rest] == [str(column) for column in columns[first:]]
    edges = [x0 + (x1 - x0) * i / n for i in range(n)]
    cells: list[list[float]] = [[] for _ in range(n)]
    for x, y in samples:
        if x0 <= x <= x1:
            cells[sum(edge <= x for edge in edges) - 1].append(y)
    for column, values in zip(columns, cells, strict=True):
        low, high = brute_bounds(values)
        finite = sum(map(isfinite, values))
        assert (column.low, column.high, column.finite) == (low, high, finite)
        assert column.has_nonfinite == (finite < len(values))
        if values:
            assert same(column.first, values[0])
            assert same(column.last, values[-1])
        else:
            assert column is EMPTY


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(-9, 9)), max_size=120), st.booleans())
def test_a_smaller_x_replaces_everything_from_there_on(samples: list, at_once: bool) -> None:
    series, known = Series(), []
    for x, y in samples:
        if known and x < known[-1][0]:
            known = [sample for sample in known if sample[0] < x]
        known.append((x, y))
    if at_once:
        series.extend([y for _, y in samples], [x for x, _ in samples])
    else:
        for x, y in samples:
            series.append(y, x)
    assert list(zip(series.xs[0], series.raw.values, strict=True)) == known
    assert series.raw.bounds(0, len(known)) == brute_bounds([y for _, y in known])


def brute_ema(values: list[float], weight: float) -> list[float]:
    out, mean, count = [], 0.0, 0
    for value in values:
        if isfinite(value):
            mean, count = weight * mean + (1 - weight) * value, count + 1
        out.append(mean / (1 - weight**count) if isfinite(value) else nan)
    return out


@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(nan), st.just(inf)), max_size=150),
    st.sampled_from([0.5, 0.9, 0.99, 0.999]),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_the_average_is_debiased_and_survives_appends_and_resumes(
    values: list, weight: float, asked_at: float, cut: float
) -> None:
    series = Series()
    half, keep = int(asked_at * len(values)), int(cut * len(values))
    series.extend(values[:half], range(half))
    series.values(weight)
    series.extend(values[half:], range(half, len(values)))
    series.values(weight)
    series.truncate_from(keep)
    series.extend(values[keep:], range(keep, len(values)))
    smoothed = series.values(weight).values
    assert list(smoothed) == pytest.approx(brute_ema(values, weight), rel=1e-9, abs=1e-6, nan_ok=True)
    finite = [value for value in values if isfinite(value)]
    if finite:
        assert next(value for value in smoothed if isfinite(value)) == pytest.approx(finite[0])


def test_other_axes_never_go_back_and_samples_without_x_are_left_out() -> None:
    series = Series(3)
    series.append(1.0, 0, 0, 10.0)
    series.append(2.0, 1, 100, 9.0)  # the clock was set back
    series.append(3.0, nan, 200, 11.0)
    series.append(4.0, 2, nan, 12.0)
    assert [list(x) for x in series.xs] == [[0, 1, 2], [0, 100, 100], [10, 10, 12]]
    assert list(series.raw.values) == [1, 2, 4]
    assert series.columns(0, 100, 2, axis=1)[1].finite == 2


def test_nearest_sample() -> None:
    series = Series()
    assert series.nearest(3) == -1
    series.extend([0, 0, 0], [0, 10, 20])
    assert [series.nearest(x) for x in (-5, 4, 6, 16, 99)] == [0, 0, 1, 2, 2]


def test_wrong_number_of_axes_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 x values, got 1"):
        Series(2).append(1.0, 1)
    with pytest.raises(ValueError, match="each as long as y"):
        Series().extend([1.0, 2.0], [1])
