"""The chart as a Textual widget: keys, colors, and repaints of only the cells that changed."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.chart.colors import COMPONENT_CLASSES, CSS
from tui.chart.glyphs import EventKind
from tui.chart.model import Event, Model, Role, Window, XAxis
from tui.chart.plot import Plot
from tui.chart.series import Series

SMOOTHINGS = (0.0, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
ZOOM_STEP = 2.0
PAN_STEP = 0.25  # of the window
MOST_REGIONS = 48  # more changed runs than this and the whole widget is repainted at once

Xs = float | Mapping[str, float]  # on the only axis, or by name of axis
Columns = Sequence[float] | Mapping[str, Sequence[float]]


class Chart(Widget, can_focus=True):
    """Named series over one of several x axes, with events, a cursor, zoom and smoothing.

    Give every series with `set_series`, feed it with `extend` (once or twice a second, in batches), or append to the
    `Series` itself and call `data_changed`. With several axes each x is a mapping from the axis' name.
    """

    DEFAULT_CSS = CSS
    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENT_CLASSES
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "cursor(-1)", "Cursor left", False, tooltip="Read the sample to the left", id="chart.left"),
        Binding("right", "cursor(1)", "Cursor right", False, tooltip="Read the sample to the right", id="chart.right"),
        Binding("up", "switch(-1)", "Series above", False, tooltip="Read the previous series", id="chart.up"),
        Binding("down", "switch(1)", "Series below", False, tooltip="Read the next series", id="chart.down"),
        Binding("escape", "hide_cursor", "Hide cursor", False, tooltip="Put the cursor away", id="chart.hide"),
        Binding(
            "plus,equals_sign", "zoom(-1)", "Zoom in", tooltip="Show half as much of the x axis", id="chart.zoom_in"
        ),
        Binding("minus", "zoom(1)", "Zoom out", tooltip="Show twice as much of the x axis", id="chart.zoom_out"),
        Binding("less_than_sign", "pan(-1)", "Pan left", tooltip="Look at earlier samples", id="chart.pan_left"),
        Binding("greater_than_sign", "pan(1)", "Pan right", tooltip="Look at later samples", id="chart.pan_right"),
        Binding("0", "reset", "Whole run", tooltip="Undo zoom, pan and follow; fit the y axis", id="chart.reset"),
        Binding("s", "smooth(1)", "Smoother", tooltip="More weight on past samples", id="chart.smoother"),
        Binding("S", "smooth(-1)", "Rougher", tooltip="Less weight on past samples", id="chart.rougher"),
        Binding("l", "log_y", "Log y", tooltip="Logarithmic or linear y axis", id="chart.log"),
        Binding("X", "next_axis", "X axis", tooltip="Next x axis: step, tokens, time", id="chart.axis"),
        Binding(
            "f", "follow", "Follow", tooltip="Keep the newest samples in view and fill the width", id="chart.follow"
        ),
    ]

    class AxisChanged(Message):
        """The reader chose another x axis."""

        def __init__(self, chart: "Chart", axis: XAxis) -> None:
            super().__init__()
            self.chart, self.axis = chart, axis

        @property
        def control(self) -> "Chart":
            """The chart."""
            return self.chart

    def __init__(
        self,
        title: str = "",
        *,
        axes: Sequence[XAxis] = (XAxis("step"),),
        smoothing: float = 0.0,
        ascii_only: bool = False,
        empty: str = "No samples yet",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.model = Model(tuple(axes), title, empty=empty, smoothing=smoothing)
        self.plot = Plot(self.model, ascii_only)
        self._strips: dict[int, Strip] = {}
        self._styles_by_name: dict[str, Style] = {}
        self._paint_due = False

    # Data

    def set_series(self, name: str, series: Series | None = None, *, role: Role = "line") -> Series:
        """Shows a series under this name, a new one if none is given, and returns it. Its axes must be the chart's."""
        if series is None:
            series = Series(len(self.model.axes))
        if len(series.xs) != len(self.model.axes):
            raise ValueError(f"series {name!r} has {len(series.xs)} x axes, the chart has {len(self.model.axes)}")
        self.model.put(name, series, role)
        self.data_changed()
        return series

    def remove_series(self, name: str) -> None:
        """Takes a series away; unknown names are fine."""
        self.model.remove(name)
        self.data_changed()

    def extend(self, name: str, xs: Columns, ys: Sequence[float]) -> None:
        """Appends samples to a series. Raises KeyError if there is none of that name."""
        layer = self.model.layer(name)
        if layer is None:
            raise KeyError(name)
        layer.series.extend(ys, *([xs[axis.name] for axis in self.model.axes] if isinstance(xs, Mapping) else [xs]))
        self.data_changed()

    def add_marker(self, x: Xs, kind: EventKind, label: str = "") -> None:
        """Puts an event on the x axis. An axis that `x` does not name does not show it."""
        xs = tuple(x.get(axis.name, nan) for axis in self.model.axes) if isinstance(x, Mapping) else (x,)
        self.model.add_event(Event(xs, kind, label))
        self.data_changed()

    def clear(self) -> None:
        """Takes all series and events away, and the y range that fitted them."""
        self.model.layers, self.model.events, self.model.cursor = [], [], None
        self.plot.y_scale = None
        self.model.version += 1
        self.data_changed()

    @property
    def x_domain(self) -> Window:
        """The extent of the present axis. Setting it to what is planned keeps old columns where they are."""
        return self.model.domain()

    @x_domain.setter
    def x_domain(self, domain: Window) -> None:
        self.set_x_domain(self.model.axes[self.model.axis].name, domain)

    def set_x_domain(self, axis: str, domain: Window | None) -> None:
        """Sets the planned extent of one axis; None, or one without two finite ends, lets it follow the samples."""
        index = [known.name for known in self.model.axes].index(axis)
        if domain is None or not all(map(isfinite, domain)):
            self.model.domains.pop(index, None)
        else:
            self.model.domains[index] = domain
        self.data_changed()

    def data_changed(self) -> None:
        """Repaints soon, once for however many calls."""
        if not self._paint_due and self.is_attached and self._running:
            self._paint_due = True
            self.call_later(self._paint)

    # Painting

    def _paint(self) -> None:
        self._paint_due = False
        canvas = self.plot.canvas
        if not self.size or (canvas.width, canvas.height) != tuple(self.size):
            return  # on_resize paints
        self.plot.paint()
        runs = canvas.take_changes()
        for run in runs:
            self._strips.pop(run.y, None)
        if len(runs) > MOST_REGIONS:
            self.refresh()
        elif runs:
            self.refresh(*(Region(run.x, run.y, run.width, 1) for run in runs))

    def on_resize(self, event: events.Resize) -> None:
        """Fits the picture to the new size."""
        self.plot.resize(*self.size)
        self.plot.paint()
        self.plot.canvas.take_changes()
        self._strips.clear()
        self.refresh()

    def notify_style_update(self) -> None:
        """Forgets the colors of the old theme."""
        super().notify_style_update()
        self._styles_by_name.clear()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """One row of the canvas as a strip."""
        canvas = self.plot.canvas
        if y >= canvas.height:
            return Strip.blank(self.size.width, self.rich_style)
        strip = self._strips.get(y)
        if strip is None:
            segments = [Segment(text, self._style(name)) for text, name in canvas.row(y)]
            strip = self._strips[y] = Strip(segments, canvas.width)
        return strip

    def _style(self, name: str) -> Style:
        style = self._styles_by_name.get(name)
        if style is None:
            style = self.get_component_rich_style(f"chart--{name}") if name else self.rich_style
            self._styles_by_name[name] = style
        return style

    # Keys

    def action_cursor(self, cells: int) -> None:
        """Moves the cursor by a cell, and so at least by a sample."""
        self.model.move_cursor(cells, self.plot.frame.width if self.plot.frame else 1)
        self.data_changed()

    def action_switch(self, by: int) -> None:
        """Moves the cursor to another series."""
        self.model.switch_cursor(by)
        self.data_changed()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape is the chart's only while there is a cursor to put away."""
        return self.model.cursor is not None if action == "hide_cursor" else True

    def action_hide_cursor(self) -> None:
        """Puts the cursor away."""
        self.model.cursor = None
        self._changed()

    def action_zoom(self, steps: int) -> None:
        """Zooms out, or in if negative."""
        self.model.zoom(ZOOM_STEP**steps)
        self.data_changed()

    def action_pan(self, steps: int) -> None:
        """Moves the window to the right, or left if negative."""
        self.model.pan(PAN_STEP * steps)
        self.data_changed()

    def action_reset(self) -> None:
        """Shows the whole run."""
        self.model.views.clear()
        self.model.follow = False
        self.plot.y_scale = None
        self._changed()

    def action_smooth(self, steps: int) -> None:
        """Smoother, or rougher if negative."""
        nearest = min(range(len(SMOOTHINGS)), key=lambda i: abs(SMOOTHINGS[i] - self.model.smoothing))
        self.model.smoothing = SMOOTHINGS[min(max(nearest + steps, 0), len(SMOOTHINGS) - 1)]
        self._changed()

    def action_log_y(self) -> None:
        """Switches the y axis."""
        self.model.log_y = not self.model.log_y
        self._changed()

    def action_next_axis(self) -> None:
        """Switches to the next x axis."""
        self.model.axis = (self.model.axis + 1) % len(self.model.axes)
        self.post_message(self.AxisChanged(self, self.model.axes[self.model.axis]))
        self._changed()

    def action_follow(self) -> None:
        """Starts or ends following."""
        self.model.follow = not self.model.follow
        self._changed()

    def on_click(self, event: events.Click) -> None:
        """Snaps the cursor to the sample nearest to the mouse."""
        frame = self.plot.frame
        if frame is not None and frame.width > 0 and event.x >= frame.left:
            lo, hi = frame.window
            self.model.place_cursor(lo + (event.x - frame.left + 0.5) / frame.width * (hi - lo))
            self.data_changed()

    def _changed(self) -> None:
        self.model.version += 1
        self.data_changed()
