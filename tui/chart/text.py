"""A chart as plain text, for reports and terminals that only scroll."""

from collections.abc import Iterable, Mapping

from tui.chart.model import Event, Model, Role, Window, XAxis
from tui.chart.plot import Plot
from tui.chart.series import Series


def render_text(
    series: Mapping[str, Series | tuple[Series, Role]],
    *,
    width: int,
    height: int,
    title: str = "",
    x_axis: XAxis | None = None,
    x_domain: Window | None = None,
    events: Iterable[Event] = (),
    smoothing: float = 0.0,
    log_y: bool = False,
    ascii_only: bool = False,
) -> list[str]:
    """`height` lines of at most `width` cells, x on the first axis of the series.

    A series is a line unless given with the role "points".
    """
    model = Model((x_axis or XAxis("step"),), title, smoothing=smoothing, log_y=log_y)
    for name, given in series.items():
        if isinstance(given, Series):
            model.put(name, given, "line")
        else:
            model.put(name, *given)
    for event in events:
        model.add_event(event)
    if x_domain is not None:
        model.domains[0] = x_domain
    plot = Plot(model, ascii_only)
    plot.resize(width, height)
    plot.paint()
    return plot.canvas.lines()
