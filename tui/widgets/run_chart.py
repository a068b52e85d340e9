"""The chart as the console uses it: with the keys of our table, and quiet colours of our themes."""

from typing import ClassVar

from textual.binding import BindingType

from tui.chart.widget import Chart
from tui.keys.bindings import bindings_for


class RunChart(Chart, inherit_bindings=False):
    """A chart whose keys can be remapped like all others."""

    BINDINGS: ClassVar[list[BindingType]] = bindings_for("chart")
    DEFAULT_CSS = """
    RunChart {
        & > .chart--title { color: $quiet; text-style: bold; }
        & > .chart--label, & > .chart--muted { color: $quiet; }
        & > .chart--axis { color: $faint; }
        &:focus > .chart--title { color: $primary; }
    }
    """
