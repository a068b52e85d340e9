"""Draws line charts with matplotlib, as SVG that takes its colors and font from the page."""

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, FAINT = "#1f2934", "#5f6b7a", "#e3e7ec", "#9db7da"
ACCENT, SECOND, THIRD = "#1d5fae", "#c2561b", "#3f7d5b"
# colors of the drawing -> CSS variables of the page, which change with light and dark
PAGE_COLOURS = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    FAINT: "--faint",
    ACCENT: "--accent",
    SECOND: "--second",
    THIRD: "--third",
}
SIZE = (5.0, 3.0)  # inches, of 72 units each
LARGEST = 1e30  # largest value to draw: axes overflow beyond it
LOG_RATIO = 3.0  # largest over smallest value from which a logarithmic axis is used


class Line(NamedTuple):
    """A curve, thinned for drawing. `points`: mark each value."""

    xs: Sequence[float]
    ys: Sequence[float]
    color: str
    label: str = ""
    width: float = 1.2
    points: bool = False


class Level(NamedTuple):
    """A horizontal reference line."""

    y: float
    color: str
    label: str


class Panel(NamedTuple):
    """The content of one set of axes."""

    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    bands: tuple[tuple[str, float, float], ...] = ()  # (name, begin, end) of the sections of the x axis
    y_words: Callable[[float], str] | None = None
    x_words: Callable[[float], str] | None = None
    from_zero: bool = False
    may_be_log: bool = False


def draw(panels: Sequence[Panel], name: str, inline: bool = True) -> bytes:
    """The panels, stacked, as SVG. `name` makes the ids unique within a page. The same input gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    drawing = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 9.5, "text.parse_math": False}
    ):
        width, height = SIZE if len(panels) == 1 else (7.0, 2.1 * len(panels))
        figure = Figure(figsize=(width, height), dpi=72)
        # margins that fit the text of any panel: measuring takes as long as drawing
        left, top, bottom = 0.62 / width, 0.2 / height, 0.46 / height
        figure.subplots_adjust(left=left, right=1 - 0.1 / width, top=1 - top, bottom=bottom, hspace=0.3)
        axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for each, panel in zip(axes, panels, strict=True):
            _fill(each, panel)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawing, format="svg", metadata=nothing, transparent=inline)
    return _for_page(drawing.getvalue().decode(), name).encode() if inline else drawing.getvalue()


def _fill(axes: "Axes", panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for line in panel.lines:
        few = line.points or sum(map(math.isfinite, line.ys)) <= 2  # a line needs two ends
        axes.plot(
            line.xs,
            [max(-LARGEST, min(LARGEST, y)) if math.isfinite(y) else math.nan for y in line.ys],
            color=line.color,
            linewidth=line.width,
            label=line.label or None,
            marker="o" if few else None,
            markersize=3.5,
        )
    for level in panel.levels:
        axes.axhline(level.y, color=level.color, linewidth=1.1, linestyle=(0, (5, 3)), label=level.label)
    axes.set_xlabel(panel.x_label, color=MUTED)
    axes.set_ylabel(panel.y_label, color=MUTED)
    axes.yaxis.set_label_coords(-0.5 / (SIZE[0] - 0.72), 0.5)
    axes.margins(x=0.01)
    _scale(axes, panel)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    if panel.x_words is not None:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: panel.x_words(value)))  # type: ignore[misc]
    axes.tick_params(colors=MUTED, labelcolor=INK, length=3, which="both")
    axes.grid(color=GRID, linewidth=0.7, which="major")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    _bands(axes, panel)
    if sum(bool(line.label) for line in panel.lines) + len(panel.levels) > 1:
        axes.legend(frameon=False, loc="best" if panel.from_zero else "upper right", labelcolor=INK, fontsize=9)


def _scale(axes: "Axes", panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    shown = panel.y_words or (lambda value: f"{value:g}")
    found = [y for line in panel.lines for y in line.ys if math.isfinite(y)]
    if panel.may_be_log and found and min(found) > 0 and max(found) / min(found) > LOG_RATIO:
        axes.set_yscale("log")
        narrow = max(found) / min(found) < 100
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if narrow else (1,), numticks=12))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6))
        if panel.from_zero:
            tops = [*found, *(level.y for level in panel.levels)]
            top = max(tops, default=1.0)
            axes.set_ylim(0, 1.12 * min(top, LARGEST) if top > 0 else None)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))


def _bands(axes: "Axes", panel: Panel) -> None:
    """Label the sections of the x axis that are wide enough for their names."""
    whole = max((end for *_, end in panel.bands), default=0.0)
    for number, (name, begin, end) in enumerate(panel.bands):
        if number % 2:
            axes.axvspan(begin, end, color=GRID, alpha=0.5, linewidth=0)
        if end - begin > 0.018 * len(name) * whole:
            axes.text(
                (begin + end) / 2, 1.0, name, color=MUTED, fontsize=8.5, ha="center", va="bottom",
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip


def _for_page(svg: str, name: str) -> str:
    """Prepare the SVG for a page: CSS colors and font, unique ids, short numbers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(id="|href="#|url\(#)', lambda found: f"{found[0]}{name}-", svg)
    svg = svg.replace("xlink:href", "href").replace('xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    svg = re.sub(r"(?<![\w#.])(\d+\.\d{2})\d+", r"\1", svg)
    svg = re.sub(r'font: ([\d.]+px) [^;"]*', r"font-size: \1", svg)
    for color, variable in PAGE_COLOURS.items():
        svg = svg.replace(color, f"var({variable})")
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true" focusable="false">', svg, count=1)
    return re.sub(r"\s*\n\s*", "\n", svg)


def short(value: float) -> str:
    """A number on an axis: `1.5M`, `800`."""
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.4g}{unit}"
    return f"{value:.4g}"
