"""From a series to dots: which dot rows each dot column covers, updated only where samples were added."""

from math import floor, isfinite

from tui.chart.scale import Scale
from tui.chart.series import Column, Series


class Trace:
    """One line on a grid of dots. Column d covers the dot rows top[d]..bottom[d]; none if top > bottom."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.top: list[int] = []
        self.bottom: list[int] = []
        self.above: list[bool] = []  # something of this column lies above the grid
        self.below: list[bool] = []
        self.holes: list[bool] = []  # a value of this column is not finite
        self._columns: list[Column] = []
        self._drawn = 0  # samples on the grid
        self._frame: object = None

    def update(self, x: tuple[float, float], axis: int, y: Scale, columns: int, rows: int, smoothing: float) -> range:
        """Brings the trace up to its series and returns the dot columns that may have changed."""
        series, size = self.series, len(self.series)
        frame = (x, axis, y, columns, rows, smoothing, series.truncations)
        start, stop = 0, columns
        if frame == self._frame:
            if size == self._drawn:
                return range(0)
            # A line may lead from the last sample drawn to the first new one: redraw from there to the newest.
            start = max(self._column_of(self._drawn - 1, x, axis, columns), 0) if self._drawn else 0
            stop = min(self._column_of(size - 1, x, axis, columns) + 1, columns)
        self._frame, self._drawn = frame, size
        if start >= columns:
            return range(0)
        fresh = series.columns(*x, columns, axis=axis, first=start, smoothing=smoothing)
        blank = columns - start
        self._columns[start:] = fresh
        self.top[start:] = [rows] * blank
        self.bottom[start:] = [-1] * blank
        self.above[start:] = self.below[start:] = [False] * blank
        self.holes[start:] = [column.has_nonfinite for column in fresh]
        self._link(start, x, axis, y, columns, rows, smoothing)
        return range(start, stop)

    def _column_of(self, index: int, x: tuple[float, float], axis: int, columns: int) -> int:
        """The dot column of a sample, also of one outside the window, at most a screen or two away."""
        place = (self.series.xs[axis][index] - x[0]) / (x[1] - x[0])
        column = floor(min(max(place, -9.0), 9.0) * columns)
        return columns - 1 if place == 1.0 else column

    def _link(
        self, start: int, x: tuple[float, float], axis: int, y: Scale, columns: int, rows: int, smoothing: float
    ) -> None:
        """Covers the columns from `start` on, and joins neighboring samples with straight lines."""
        row_of = y.row_of(rows)
        values = self.series.values(smoothing).values

        def anchor(value: float) -> float | None:
            return row_of(value) if isfinite(value) and (value > 0 or not y.log) else None

        before: tuple[int, float] | None = None  # column and row where the line comes from
        for d in range(start - 1, -1, -1):
            column = self._columns[d]
            if column.finite or column.has_nonfinite:
                row = anchor(column.last)
                before = (d, row) if row is not None else None
                break
        else:
            outside = self.series.span(*x, axis)[0] - 1
            row = anchor(values[outside]) if outside >= 0 else None
            if row is not None:
                before = (min(self._column_of(outside, x, axis, columns), -1), row)

        for d in range(start, columns):
            column = self._columns[d]
            if not column.finite:
                before = None if column.has_nonfinite else before
                continue
            row = anchor(column.first)
            if before is not None and row is not None:
                self._join(before, (d, row), columns, rows)
            if column.high > 0 or not y.log:
                self._cover(d, row_of(column.high), row_of(column.low), rows)
            row = anchor(column.last)
            before = (d, row) if row is not None else None

        after = self.series.span(*x, axis)[1]
        row = anchor(values[after]) if after < len(values) else None
        if before is not None and row is not None:
            self._join(before, (max(self._column_of(after, x, axis, columns), columns), row), columns, rows)

    def _join(self, a: tuple[int, float], b: tuple[int, float], columns: int, rows: int) -> None:
        """A straight line from the middle of column a[0] to that of b[0]: in each column after a, the rows that the
        line has gone down or up since the column before, so that it has no holes and no steps two dots thick."""
        slope = (b[1] - a[1]) / (b[0] - a[0])
        first = max(a[0] + 1, 0)
        previous = floor(a[1] + slope * (first - 1 - a[0]) + 0.5)
        for d in range(first, min(b[0], columns - 1) + 1):
            row = floor((b[1] if d == b[0] else a[1] + slope * (d - a[0])) + 0.5)
            if row > previous:
                self._cover(d, previous + 1, row, rows)
            else:
                self._cover(d, row, max(row, previous - 1), rows)
            previous = row

    def _cover(self, d: int, high: float, low: float, rows: int) -> None:
        """Adds the dot rows from `high` (the smaller number) down to `low` to column d."""
        top, bottom = floor(high + 0.5), floor(low + 0.5)
        if top < 0:
            self.above[d] = True
        if bottom >= rows:
            self.below[d] = True
        top, bottom = max(top, 0), min(bottom, rows - 1)
        if top <= bottom:
            self.top[d] = min(self.top[d], top)
            self.bottom[d] = max(self.bottom[d], bottom)
