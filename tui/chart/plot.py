"""Paints a model onto a canvas and repaints only what new samples changed. Knows nothing of terminals."""

from tui.chart import readout
from tui.chart.canvas import DOTS_ACROSS, DOTS_DOWN, Canvas, Piece
from tui.chart.compose import BEHIND, THROUGH, Line, Mark, compose
from tui.chart.frame import Frame, layout, paint_empty, paint_floor, paint_gutter, paint_labels
from tui.chart.glyphs import ALARMS, ASCII, RULED, UNICODE, Glyphs
from tui.chart.model import Layer, Model, Window
from tui.chart.scale import Scale, robust_range, settle
from tui.chart.series import Column
from tui.chart.trace import Trace

RANGE_PARTS = 64  # at most, of a series, for the choice of the y range
MARK_EVERY = 18  # cells between the glyphs on a line, when there are several lines


class Plot:
    """A model, a canvas of some size, and what of the one is on the other."""

    def __init__(self, model: Model, ascii_only: bool = False) -> None:
        self.model = model
        self.ascii_only = ascii_only
        self.canvas = Canvas(0, 0)
        self.frame: Frame | None = None
        self.y_scale: Scale | None = None  # kept while it fits well enough; None to choose afresh
        self._painted: object = None  # the state that the whole picture on the canvas is of
        self._lines: list[Line] = []
        self._lines_of: object = None
        self._marks: list[list[Mark]] = []
        self._floor_holes: set[int] = set()
        self._points: dict[str, tuple[object, list[Column]]] = {}

    def resize(self, width: int, height: int) -> None:
        """Starts again on an empty canvas of this size."""
        self.canvas = Canvas(width, height)
        self._painted = None

    def paint(self) -> None:
        """Brings the canvas up to the model."""
        model, canvas, glyphs = self.model, self.canvas, self.glyphs
        if not canvas.width or not canvas.height:
            return
        model.check_cursor()
        window = model.window()
        lows, highs = self._extremes(window)
        self.y_scale = settle(self.y_scale, Scale(*robust_range(lows, highs, model.log_y), model.log_y))
        frame = self.frame = layout(model, canvas.width, canvas.height, window, self.y_scale)
        state = (frame, model.version, model.axis, model.smoothing, self.ascii_only, not lows)
        whole, self._painted = state != self._painted, state
        dirty = self._update_lines(frame)
        marks = self._all_marks(frame)
        for cell in range(frame.width):
            if whole or cell in dirty or marks[cell] != self._marks[cell]:
                chars, styles = compose(frame, glyphs, self._lines, marks[cell], cell, self.ascii_only)
                canvas.put_column(frame.left + cell, frame.top, chars, styles)
        self._marks = marks
        self._paint_words(
            frame, glyphs, [("values <= 0 not shown", "alarm")] if model.log_y and min(lows, default=1.0) <= 0 else []
        )
        holes = self._holes()
        if frame.floor and (whole or holes != self._floor_holes):
            self._floor_holes = holes
            paint_floor(canvas, frame, model, glyphs, holes)
        if whole:
            paint_gutter(canvas, frame, glyphs)
            paint_labels(canvas, frame, model)
        if not lows:
            paint_empty(canvas, frame, model.empty)

    @property
    def glyphs(self) -> Glyphs:
        """The characters drawn with."""
        return ASCII if self.ascii_only else UNICODE

    def _paint_words(self, frame: Frame, glyphs: Glyphs, notes: list[Piece]) -> None:
        """The title and the legend; the cursor's values take the place of the lower one of them."""
        cell = (frame.window[1] - frame.window[0]) / max(frame.width, 1)
        rows = [readout.title(self.model, glyphs, notes, self.canvas.width)] if frame.title else []
        if frame.legend:
            rows.append(readout.legend(self.model, glyphs))
        if rows and self.model.cursor is not None:
            rows[-1] = (readout.cursor(self.model, glyphs, cell), [])
        for y, (left, right) in enumerate(rows):
            self.canvas.line(y, left, right, glyphs.cut)

    def _holes(self) -> set[int]:
        """The cells across in which a series has a value that is not finite."""
        traces = [line.trace for line in self._lines if not line.smoothed]
        return {d // DOTS_ACROSS for trace in traces if any(trace.holes) for d, hole in enumerate(trace.holes) if hole}

    def _all_marks(self, frame: Frame) -> list[list[Mark]]:
        """The single glyphs in each column of cells, from the back to the front."""
        model, glyphs = self.model, self.glyphs
        marks: list[list[Mark]] = [[] for _ in range(frame.width)]
        if frame.width < 1 or frame.height < 1:
            return marks
        for event in model.events:
            cell = frame.cell_of(event.xs[model.axis])
            if event.kind in RULED and cell >= 0:
                marks[cell] = [(BEHIND, glyphs.rule, "alarm" if event.kind in ALARMS else "axis")]
        cursor_x = model.cursor_x()
        cursor_cell = -1 if cursor_x is None else frame.cell_of(cursor_x)
        if cursor_cell >= 0:
            marks[cursor_cell] = [(THROUGH, glyphs.cursor, "cursor")]
        in_front = [line for line in self._lines if line.smoothed or model.smoothing <= 0]
        for order, line in enumerate(in_front):
            self._mark_line(frame, line, order * MARK_EVERY // len(in_front), len(in_front) > 1, marks)
        for layer in model.layers:
            if layer.role == "points":
                self._mark_points(frame, layer, marks)
        if model.cursor is not None and cursor_cell >= 0:
            layer, index = model.layers[model.cursor[0]], model.cursor[1]
            row = frame.row_of(layer.series.raw.values[index])
            if row is not None:
                char = (glyphs.points if layer.role == "points" else glyphs.lines)[layer.glyph]
                marks[cursor_cell].append((min(max(row, 0), frame.height - 1), char, "cursor"))
        return marks

    def _mark_line(self, frame: Frame, line: Line, offset: int, several: bool, marks: list[list[Mark]]) -> None:
        """A glyph at the newest sample, and, to tell several lines apart without color, one every few cells."""
        glyph, trace, series = self.glyphs.lines[line.layer.glyph], line.trace, line.layer.series
        newest = frame.cell_of(series.xs[self.model.axis][-1]) if len(series) else -1
        if several:
            for cell in range(offset, frame.width, MARK_EVERY):
                if abs(cell - newest) < MARK_EVERY // 3:
                    continue
                top, bottom = trace.top[cell * DOTS_ACROSS], trace.bottom[cell * DOTS_ACROSS]
                if top <= bottom:
                    marks[cell].append(((top + bottom) // 2 // DOTS_DOWN, glyph, line.style))
        if newest >= 0:
            row = frame.row_of(series.values(self.model.smoothing if line.smoothed else 0.0).values[-1])
            if row is not None and 0 <= row < frame.height:
                marks[newest].append((row, glyph, line.style))

    def _mark_points(self, frame: Frame, layer: Layer, marks: list[list[Mark]]) -> None:
        """A glyph at the lowest and at the highest of the points in each cell across."""
        glyphs, series = self.glyphs, layer.series
        key = (series, frame, self.model.axis, len(series), series.truncations)
        known, columns = self._points.get(layer.name, (None, []))
        if known != key:
            columns = series.columns(*frame.window, frame.width, axis=self.model.axis)
            self._points[layer.name] = (key, columns)
        for cell, column in enumerate(columns):
            for row in {frame.row_of(column.low), frame.row_of(column.high)} if column.finite else ():
                if row is not None:
                    char = (
                        glyphs.above if row < 0 else glyphs.below if row == frame.height else glyphs.points[layer.glyph]
                    )
                    marks[cell].append((min(max(row, 0), frame.height - 1), char, f"line-{layer.color}"))

    def _extremes(self, window: Window) -> tuple[list[float], list[float]]:
        """Min and max of equal parts of the values in view; the parts stay the same as values are added."""
        lows: list[float] = []
        highs: list[float] = []
        for layer in self.model.layers:
            values = layer.series.raw
            start, stop = layer.series.span(*window, self.model.axis)
            if start == stop:  # zoomed in between two samples: the line that passes is made of its neighbors
                start, stop = max(start - 1, 0), min(stop + 1, len(values))
            size = 1
            while stop - start > size * RANGE_PARTS:
                size *= 2
            for part in range(start - start % size, stop, size):
                low, high = values.bounds(max(part, start), min(part + size, stop))
                if low <= high:
                    lows.append(low)
                    highs.append(high)
        return lows, highs

    def _update_lines(self, frame: Frame) -> set[int]:
        """Updates the dots of every line and returns the cells across in which they may have changed."""
        model, glyphs = self.model, self.glyphs
        smoothing = model.smoothing
        layers = model.lines()
        lines_of = (model.version, smoothing > 0, self.ascii_only)
        if lines_of != self._lines_of:
            known = {(id(line.layer.series), line.smoothed): line.trace for line in self._lines}
            self._lines_of, self._lines = lines_of, []
            for smoothed in (False, True) if smoothing > 0 else (False,):  # the raw values of all lie behind every line
                for layer in layers:
                    trace = known.get((id(layer.series), smoothed)) or Trace(layer.series)
                    raw = smoothing > 0 and not smoothed
                    style = f"{'raw' if raw else 'line'}-{layer.color}"
                    char = glyphs.raw if raw else glyphs.lines[layer.glyph]
                    self._lines.append(Line(trace, layer, smoothed, raw, style, char))
        dirty: set[int] = set()
        columns, rows = frame.width * DOTS_ACROSS, frame.height * DOTS_DOWN
        for line in self._lines:
            weight = smoothing if line.smoothed else 0.0
            changed = line.trace.update(frame.window, model.axis, frame.y, columns, rows, weight)
            dirty.update(range(changed.start // DOTS_ACROSS, -(-changed.stop // DOTS_ACROSS)))
        return dirty
