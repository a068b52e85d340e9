"""The chart as the console uses it: with keys from the binding table and colors from the themes."""

from typing import ClassVar

from textual.binding import BindingType

from tui.chart.widget import Chart
from tui.keys.bindings import bindings_for


class RunChart(Chart, inherit_bindings=False):
    """A chart with keys that can be remapped."""

    BINDINGS: ClassVar[list[BindingType]] = bindings_for("chart")
    DEFAULT_CSS = """
    RunChart {
        & > .chart--title { color: $quiet; text-style: bold; }
        & > .chart--label, & > .chart--muted { color: $quiet; }
        & > .chart--axis { color: $faint; }
        &:focus > .chart--title { color: $primary; }
    }
    """
