"""The words around a plot: its title with the last value, its legend, and what lies under the cursor."""

from math import isfinite

from rich.cells import cell_len

from tui.chart.canvas import Piece, pieces_width
from tui.chart.glyphs import EVENTS, Glyphs
from tui.chart.model import Layer, Model
from tui.chart.scale import duration, exact, short

GAP: Piece = ("   ", "")


def title(model: Model, glyphs: Glyphs, notes: list[Piece], width: int) -> tuple[list[Piece], list[Piece]]:
    """What stands at the left and at the right of the first row. `notes` say what the picture leaves out. Where the
    left is wider than `width` words give way, never a part of a figure: the short title, then no place, then a cut
    title."""
    left = _named(model.title, _last(model, glyphs))
    short_title = model.short_title or model.title
    if pieces_width(left) > width:
        left = _named(short_title, _last(model, glyphs))
    if pieces_width(left) > width:
        value = _last(model, glyphs)[:1]
        room = width - pieces_width(_named("", value)) - 2
        left = _named(_cut(short_title, room, glyphs.cut) if value else short_title, value)
    chips: list[Piece] = list(notes)
    if model.smoothing > 0 and model.lines():
        chips.append((f"EMA {model.smoothing:g}", "muted"))
    chips += [(text, "muted") for text, on in (("log y", model.log_y), ("follow", model.follow)) if on]
    if model.axis in model.views:
        lo, hi = model.domain()
        view = model.window()
        chips.append((f"zoom {short_ratio((hi - lo) / (view[1] - view[0]))}", "muted"))
    right: list[Piece] = []
    for chip in chips:
        right += [(f" {glyphs.dot} ", "muted"), chip] if right else [chip]
    return left, right


def _last(model: Model, glyphs: Glyphs) -> list[Piece]:
    """The last value of the first series that has any, and its place."""
    layer = next((layer for layer in model.layers if len(layer.series)), None)
    if layer is None:
        return []
    value = _last_value(model, layer)
    place = f" {glyphs.dot} {_place(model, layer, len(layer.series) - 1)}"
    return [(short(value), "value" if isfinite(value) else "alarm"), (place, "muted")]


def _named(name: str, last: list[Piece]) -> list[Piece]:
    return [(name, "title"), ("  " if name and last else "", ""), *last]


def _cut(text: str, width: int, mark: str) -> str:
    """As much of the text as there is room for."""
    if cell_len(text) <= width:
        return text
    while text and cell_len(text + mark) > width:
        text = text[:-1]
    return text.rstrip() + mark if text else ""


def short_ratio(ratio: float) -> str:
    """How many times something is enlarged: 4x, 1.5x."""
    return f"{ratio:.2g}x" if ratio < 100 else f"{ratio:,.0f}x"


def legend(model: Model, glyphs: Glyphs) -> tuple[list[Piece], list[Piece]]:
    """Every series with its glyph, color and last value, and the kinds of event there are."""
    left: list[Piece] = []
    for layer in model.layers:
        left += [*_mark(layer, glyphs), (f" {layer.name}", "label")]
        if len(layer.series):
            value = _last_value(model, layer)
            left.append((f" {short(value)}", "value" if isfinite(value) else "alarm"))
        left.append(GAP)
    right: list[Piece] = []
    present = {event.kind: event.style for event in model.events}
    for kind in EVENTS:
        if kind in present:
            right += [GAP] if right else []
            right += [(glyphs.events[kind], present[kind]), (f" {kind}", "muted")]
    return left, right


def cursor(model: Model, glyphs: Glyphs, cell: float) -> list[Piece]:
    """The exact values logged at the cursor; for the other series their sample nearest to it, with its x where that
    differs. `cell` is the width of a cell of the plot, in units of x."""
    if model.cursor is None:
        return []
    focus, index = model.cursor
    x = model.layers[focus].series.xs[model.axis][index]
    pieces: list[Piece] = [(_place(model, model.layers[focus], index), "title")]
    event = model.event_at(x - cell / 2, x + cell / 2)
    if event is not None:
        pieces += [GAP, (f"{glyphs.events[event.kind]} {event.label or event.kind}", event.style)]
    order = [focus, *(i for i in range(len(model.layers)) if i != focus)]
    for layer in (model.layers[i] for i in order):
        at = index if layer is model.layers[focus] else layer.series.nearest(x, model.axis)
        if at < 0:
            continue
        value = layer.series.raw.values[at]
        pieces += [GAP, *_mark(layer, glyphs), (f" {layer.name} ", "label")]
        pieces.append((exact(value), "value" if isfinite(value) else "alarm"))
        if layer.role == "line" and model.smoothing > 0:
            pieces.append((f" EMA {short(layer.series.values(model.smoothing).values[at])}", "muted"))
        if layer.series.xs[model.axis][at] != x:
            pieces.append((f" @ {_x(model, layer.series.xs[model.axis][at])}", "muted"))
    return pieces


def _mark(layer: Layer, glyphs: Glyphs) -> list[Piece]:
    if layer.role == "points":
        return [(glyphs.points[layer.glyph], f"line-{layer.color}")]
    return [(glyphs.line + glyphs.lines[layer.glyph] + glyphs.line, f"line-{layer.color}")]


def _last_value(model: Model, layer: Layer) -> float:
    """The last point of the line as drawn, or the last raw value where the line has a gap or is not smoothed."""
    smoothing = model.smoothing if layer.role == "line" else 0.0
    value = layer.series.values(smoothing).values[-1]
    return value if isfinite(value) else layer.series.raw.values[-1]


def _place(model: Model, layer: Layer, index: int) -> str:
    return f"{model.axes[model.axis].name} {_x(model, layer.series.xs[model.axis][index])}"


def _x(model: Model, x: float) -> str:
    return duration(x) if model.axes[model.axis].unit == "duration" else exact(x)
