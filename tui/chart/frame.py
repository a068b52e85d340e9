"""Where the parts of a chart lie on its canvas, and its axes drawn there."""

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property
from math import floor, isfinite

from tui.chart.canvas import DOTS_DOWN, Canvas, Piece, pieces_width
from tui.chart.glyphs import EVENTS, Glyphs
from tui.chart.model import Model, Window
from tui.chart.scale import Scale

CELLS_A_LABEL = 12  # across, for the labels of the x axis
ROWS_A_LABEL = 3


@dataclass(frozen=True)
class Frame:
    """The parts of a chart in cells, and what its axes show."""

    left: int  # of the plot proper
    top: int
    width: int
    height: int
    title: bool
    legend: bool
    floor: bool  # the x axis, on which events stand
    labels: bool
    window: Window
    y: Scale
    y_ticks: tuple[tuple[float, str], ...]

    @cached_property
    def labels_by_row(self) -> dict[int, str]:
        """The rows of the plot that carry a label of the y axis."""
        rows = ((self.row_of(value), label) for value, label in self.y_ticks)
        return {row: label for row, label in rows if row is not None and 0 <= row < self.height}

    def cell_of(self, x: float) -> int:
        """The cell of the plot that holds x, -1 if none does."""
        lo, hi = self.window
        if not lo <= x <= hi:
            return -1
        return min(int((x - lo) / (hi - lo) * self.width), self.width - 1)

    def row_of(self, y: float) -> int | None:
        """The row of the plot that y lies in, -1 or `height` if beyond; None if y has no place on the axis."""
        if not isfinite(y) or (self.y.log and y <= 0):
            return None
        row = self.y.row_of(self.height * DOTS_DOWN)(y)
        return min(max(floor(row + 0.5) // DOTS_DOWN, -1), self.height)


def layout(model: Model, width: int, height: int, window: Window, y: Scale) -> Frame:
    """Gives the plot what it needs first; title, labels and legend come as there is room."""
    title, floor_row, labels = height >= 5, height >= 3, height >= 6
    legend = height >= 10 and (len(model.layers) > 1 or bool(model.events))
    top = title + legend
    rows = height - top - floor_row - labels
    ticks = tuple(y.ticks(max(2, rows // ROWS_A_LABEL)))
    gutter = max([4, *(len(label) for _, label in ticks), min(len(model.axes[model.axis].name), 8)]) + 2
    left = gutter if width >= 2 * gutter + 4 else 0
    return Frame(left, top, width - left, rows, title, legend, floor_row, labels, window, y, ticks)


def paint_gutter(canvas: Canvas, frame: Frame, glyphs: Glyphs) -> None:
    """The y axis with its labels."""
    if not frame.left:
        return
    for row in range(frame.height):
        label = frame.labels_by_row.get(row)
        canvas.text(0, frame.top + row, [((label or "").rjust(frame.left - 2) + " ", "label")])
        canvas.put(frame.left - 1, frame.top + row, glyphs.side if label is None else glyphs.side_tick, "axis")


def _x_ticks(model: Model, frame: Frame) -> list[tuple[int, str]]:
    lo, hi = frame.window
    unit = model.axes[model.axis].unit
    ticks = Scale(lo, hi).ticks(max(1, frame.width // CELLS_A_LABEL), unit)
    return [(frame.cell_of(value), label) for value, label in ticks]


def paint_floor(canvas: Canvas, frame: Frame, model: Model, glyphs: Glyphs, holes: Set[int]) -> None:
    """The x axis with its ticks and events, and a mark under the cells in `holes`, where values are not finite."""
    y = frame.top + frame.height
    chars = [glyphs.floor] * frame.width
    styles = ["axis"] * frame.width
    if frame.labels:
        for cell, _ in _x_ticks(model, frame):
            chars[cell] = glyphs.floor_tick
    ranks = [-1] * frame.width
    for event in model.events:
        cell, rank = frame.cell_of(event.xs[model.axis]), EVENTS.index(event.kind)
        if cell >= 0 and rank > ranks[cell]:
            ranks[cell], chars[cell], styles[cell] = rank, glyphs.events[event.kind], event.style
    for cell in holes:
        if ranks[cell] < EVENTS.index("nan"):
            chars[cell], styles[cell] = glyphs.events["nan"], "alarm"
    if frame.left:
        canvas.text(0, y, [(" " * (frame.left - 1), ""), (glyphs.corner, "axis")])
    canvas.text(frame.left, y, zip(chars, styles, strict=True))


def paint_labels(canvas: Canvas, frame: Frame, model: Model) -> None:
    """The labels of the x axis, its name in the corner."""
    if not frame.labels:
        return
    name = model.axes[model.axis].name
    line = list(name[: max(frame.left - 2, 0)].rjust(max(frame.left - 2, 0)).ljust(canvas.width))
    free = max(frame.left - 1, 0)
    for cell, label in _x_ticks(model, frame):
        start = frame.left + cell - len(label) // 2
        start = max(min(start, canvas.width - len(label)), min(free, frame.left))
        if start >= free and start + len(label) <= canvas.width:
            line[start : start + len(label)] = label
            free = start + len(label) + 2
    corner = max(frame.left - 2, 0)
    canvas.line(canvas.height - 1, [("".join(line[:corner]), "muted"), ("".join(line[corner:]), "label")])


def paint_empty(canvas: Canvas, frame: Frame, text: str) -> None:
    """A sentence in the middle of a plot that has nothing to show."""
    if frame.height < 1:
        return
    y = frame.top + (frame.height - 1) // 2
    pieces: list[Piece] = [(f" {text} ", "muted")]
    canvas.text(frame.left + max((frame.width - pieces_width(pieces)) // 2, 0), y, pieces)
