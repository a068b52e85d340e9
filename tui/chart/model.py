"""What a chart holds: named series, events, the x axes to choose from, and the part of them in view."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from tui.chart.glyphs import ALARMS, EventKind
from tui.chart.scale import LIMIT, TINIEST, Unit, tick_step
from tui.chart.series import Series

Role = Literal["line", "points"]
Window = tuple[float, float]

PALETTE = 6  # colors, and glyphs of each role, before they repeat
DEEPEST_ZOOM = 2.0**-20  # of the whole domain


@dataclass(frozen=True)
class XAxis:
    """One way to lay out the samples. Series and events give an x for each axis of their chart."""

    name: str
    unit: Unit = "count"


@dataclass
class Layer:
    """One named series as it is drawn. Lines show raw values dim behind their moving average; points are glyphs."""

    name: str
    series: Series
    role: Role = "line"
    color: int = 0  # 0 .. PALETTE - 1
    glyph: int = 0  # index into the glyphs of its role


@dataclass(frozen=True)
class Event:
    """Something that happened at an x (one per axis)."""

    xs: tuple[float, ...]
    kind: EventKind
    label: str = ""

    @property
    def style(self) -> str:
        """The style of its mark."""
        return "alarm" if self.kind in ALARMS else "event"


@dataclass
class Model:
    """The data of one chart and the choices of its reader."""

    axes: tuple[XAxis, ...] = (XAxis("step"),)
    title: str = ""
    short_title: str = ""  # where there is no room for the title; empty: the title has no shorter form
    empty: str = "No samples yet"
    layers: list[Layer] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    domains: dict[int, Window] = field(default_factory=dict)  # the planned extent of an axis
    views: dict[int, Window] = field(default_factory=dict)  # the zoomed part of an axis
    axis: int = 0
    smoothing: float = 0.0
    log_y: bool = False
    follow: bool = False
    cursor: tuple[int, int] | None = None  # layer and sample
    version: int = 0  # grows with every change other than added samples

    def layer(self, name: str) -> Layer | None:
        """The layer of that name."""
        return next((layer for layer in self.layers if layer.name == name), None)

    def put(self, name: str, series: Series, role: Role) -> Layer:
        """Adds a layer, or gives the one of that name another series; colors and glyphs stay as others come and go."""
        layer = self.layer(name)
        if layer is None or layer.role != role:
            self.remove(name)
            used = {other.color for other in self.layers}
            marked = {other.glyph for other in self.layers if other.role == role}
            color = next((i for i in range(PALETTE) if i not in used), len(self.layers) % PALETTE)
            glyph = next((i for i in range(PALETTE) if i not in marked), len(self.layers) % PALETTE)
            layer = Layer(name, series, role, color, glyph)
            self.layers.append(layer)
        layer.series = series
        self.version += 1
        return layer

    def remove(self, name: str) -> None:
        """Takes a layer away; unknown names are fine."""
        self.layers = [layer for layer in self.layers if layer.name != name]
        self.cursor = None
        self.version += 1

    def add_event(self, event: Event) -> None:
        """Adds an event, unless it has no place on the primary axis."""
        if isfinite(event.xs[0]):
            self.events.append(event)
            self.version += 1

    def lines(self) -> list[Layer]:
        """The layers drawn as lines."""
        return [layer for layer in self.layers if layer.role == "line"]

    def last_x(self) -> float | None:
        """The furthest x of any sample on the present axis."""
        return max((layer.series.xs[self.axis][-1] for layer in self.layers if len(layer.series)), default=None)

    def domain(self) -> Window:
        """The whole of the present axis: what was planned, extended if the run continued beyond it."""
        known = [layer.series.xs[self.axis] for layer in self.layers if len(layer.series)]
        first = max(min((x[0] for x in known), default=0.0), -LIMIT)
        last = min(max((x[-1] for x in known), default=0.0), LIMIT)
        planned = self.domains.get(self.axis)
        if planned is None:
            lo = 0.0 if 0 <= first <= last / 2 else first
            return _proper(lo, lo + tick_step(last - lo) if last - lo > TINIEST else last)
        lo, hi = (min(max(end, -LIMIT), LIMIT) for end in sorted(planned))
        lo = min(lo, first) if known else lo
        if known and last > hi:
            hi = lo + tick_step(last - lo)
        return _proper(lo, hi)

    def window(self) -> Window:
        """The part of the present axis in view.

        While following, a zoomed window jumps on by half its width when the run leaves it, and an unzoomed one is the
        smallest of domain, domain / 2, domain / 4, ... that holds the run so far: columns move rarely, not each time.
        """
        lo, hi = domain = self.domain()
        view, last = self.views.get(self.axis), self.last_x()
        if not self.follow or last is None:
            return view or domain
        if view is None:
            width = hi - lo
            while lo + width / 2 >= last and width / 2 > (hi - lo) * DEEPEST_ZOOM:
                width /= 2
            return _proper(lo, lo + width)
        half = (view[1] - view[0]) / 2
        if not view[0] <= last <= view[1] and half > 0:
            view = (last - half, last + half)
            self.views[self.axis] = view
        return view

    def show(self, lo: float, hi: float) -> None:
        """Brings a part of the axis into view, moved and cut so that it lies inside the domain."""
        whole_lo, whole_hi = self.domain()
        whole = whole_hi - whole_lo
        width = max(hi - lo, whole * DEEPEST_ZOOM, max(abs(lo), abs(hi)) * 1e-12)
        if width >= whole:
            self.views.pop(self.axis, None)
        else:
            lo = min(max(lo, whole_lo), whole_hi - width)
            self.views[self.axis] = (lo, lo + width)
        self.version += 1

    def zoom(self, factor: float) -> None:
        """Scales the window by `factor` around the cursor, else the newest sample if it is in view, else the middle."""
        lo, hi = self.window()
        anchor = self.cursor_x()
        if anchor is None:
            anchor = self.last_x()
        if anchor is None or not lo <= anchor <= hi:
            anchor = (lo + hi) / 2
        self.show(anchor - (anchor - lo) * factor, anchor + (hi - anchor) * factor)

    def pan(self, share: float) -> None:
        """Moves the window by a share of its width; the reader decides now, so following ends."""
        lo, hi = self.window()
        self.follow = False
        self.show(lo + (hi - lo) * share, hi + (hi - lo) * share)

    def cursor_x(self) -> float | None:
        """Where the cursor is on the present axis."""
        self.check_cursor()
        if self.cursor is None:
            return None
        layer, index = self.cursor
        return self.layers[layer].series.xs[self.axis][index]

    def check_cursor(self) -> None:
        """Moves the cursor back onto its series when samples were taken away."""
        if self.cursor is not None:
            layer, index = self.cursor
            size = len(self.layers[layer].series) if layer < len(self.layers) else 0
            self.cursor = (layer, min(index, size - 1)) if size else None

    def place_cursor(self, x: float, layer: int | None = None) -> None:
        """Snaps the cursor to the sample of `layer` (of its present layer, or the first with samples) nearest to x."""
        if layer is None:
            with_samples = (i for i, other in enumerate(self.layers) if len(other.series))
            layer = self.cursor[0] if self.cursor else next(with_samples, None)
        if layer is not None and len(self.layers[layer].series):
            self.cursor = (layer, self.layers[layer].series.nearest(x, self.axis))
            self.version += 1

    def move_cursor(self, cells: int, width: int) -> None:
        """Moves the cursor by some of the `width` cells of the plot, by at least one sample, and keeps it in view."""
        self.check_cursor()
        lo, hi = self.window()
        if self.cursor is None:
            last = self.last_x()
            self.place_cursor(hi if last is None else min(hi, last))
            return
        layer, index = self.cursor
        series = self.layers[layer].series
        x = series.xs[self.axis][index]
        target = series.nearest(x + cells * (hi - lo) / max(width, 1), self.axis)
        target = max(target, index + 1) if cells > 0 else min(target, index - 1)
        target = min(max(target, 0), len(series) - 1)
        self.cursor = (layer, target)
        self.version += 1
        x = series.xs[self.axis][target]
        if not lo <= x <= hi:
            self.follow = False
            self.show(x - (hi - lo) / 2, x + (hi - lo) / 2)

    def switch_cursor(self, by: int) -> None:
        """Moves the cursor to the next layer that has samples, at the same x."""
        self.check_cursor()
        if self.cursor is None:
            self.move_cursor(0, 1)
            return
        x, count = self.cursor_x(), len(self.layers)
        for offset in range(1, count):
            layer = (self.cursor[0] + by * offset) % count
            if len(self.layers[layer].series) and x is not None:
                self.place_cursor(x, layer)
                return

    def event_at(self, lo: float, hi: float) -> Event | None:
        """The last of the events with lo <= x < hi."""
        return next((event for event in reversed(self.events) if lo <= event.xs[self.axis] < hi), None)


def _proper(lo: float, hi: float) -> Window:
    """A window of finite, positive width."""
    lo, hi = min(max(lo, -LIMIT), LIMIT), min(max(hi, -LIMIT), LIMIT)
    if hi - lo > max(abs(lo) * 1e-12, abs(hi) * 1e-12, TINIEST):
        return lo, hi
    return lo, lo + max(1.0, abs(lo) * 1e-3)
