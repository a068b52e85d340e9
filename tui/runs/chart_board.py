"""The charts of one run: a large one whose metric can be changed, and smaller ones as there is room."""

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from engine.events.history import History
from tui.runs.chart_markers import Markers
from tui.runs.run_series import CLOCK_AXIS, STEP_AXES, Feed
from tui.widgets.run_chart import RunChart

METRICS = {  # key of the series -> title, smoothing
    "loss": ("loss", 0.9),
    "reward": ("reward, mean of a step's answers", 0.9),
    "validation": ("", 0.0),  # its title is the feed's
    "tokens_per_second": ("tokens per second", 0.9),
    "mfu": ("MFU", 0.9),
    "grad_norm": ("gradient norm", 0.95),
    "step_seconds": ("seconds per step", 0.9),
}
SHORT = {  # titles for a chart that is too narrow for its own
    "reward": "reward",
    "tokens_per_second": "tok/s",  # where a chart is narrow
    "grad_norm": "grad norm",
    "step_seconds": "s/step",
}
BY_STEP = ("validation", "tokens_per_second", "grad_norm")
BY_CLOCK = {"gpu_used": "VRAM, GiB", "temperature": "GPU, °C", "power": "GPU, W"}


class ChartBoard(Vertical):
    """`show` brings all charts up to a feed; they keep the reader's zoom, axis and smoothing."""

    def __init__(self, ascii_only: bool) -> None:
        super().__init__(id="charts")
        self.ascii_only = ascii_only
        self.chosen = ""  # the metric that the reader chose; empty: the one that tells most of the stage
        self._shown = "loss"  # in the large chart
        self._markers = Markers()
        self._generation: tuple[int, int] | None = None  # of the feed whose series the charts hold

    def compose(self) -> ComposeResult:
        title, smoothing = METRICS["loss"]
        yield RunChart(title, axes=STEP_AXES, smoothing=smoothing, ascii_only=self.ascii_only, id="main")
        with Horizontal(id="small"):
            for name in BY_STEP:
                yield self._small(name, *METRICS[name], by_step=True)
        with Horizontal(id="machine"):
            for name, title in BY_CLOCK.items():
                yield self._small(name, title, 0.9, by_step=False)

    def _small(self, name: str, title: str, smoothing: float, *, by_step: bool) -> RunChart:
        axes = STEP_AXES if by_step else CLOCK_AXIS
        return RunChart(
            title, axes=axes, smoothing=smoothing, ascii_only=self.ascii_only, id=f"chart-{name}", classes="small"
        )

    @property
    def main(self) -> RunChart:
        """The large chart."""
        return self.query_one("#main", RunChart)

    def forget(self) -> None:
        """Another run is watched."""
        self._generation = None

    def show(self, feed: Feed, history: History) -> None:
        """Give charts their series again where these were replaced; otherwise only paint new points."""
        charts = list(self.query(RunChart))
        if self._generation != (id(feed), feed.generation):
            self._generation = (id(feed), feed.generation)
            self._markers = Markers()
            for chart in charts:
                chart.clear()
                self._give_series(chart, feed)
        self._markers.update([self.main], history, feed)
        self._set_domains(charts, feed, history)
        for chart in charts:
            chart.data_changed()

    def metric(self, feed: Feed) -> str:
        """What the large chart shows of this feed's stage."""
        return self.chosen if self.chosen in _metrics(feed) else "reward" if feed.stage == "rl" else "loss"

    def next_metric(self, feed: Feed) -> None:
        """Show the next metric in the large chart."""
        names = _metrics(feed)
        self.chosen = names[(names.index(self.metric(feed)) + 1) % len(names)]
        chart = self.main
        chart.clear()
        self._markers = Markers()
        self._give_series(chart, feed)

    def _give_series(self, chart: RunChart, feed: Feed) -> None:
        name = self.metric(feed) if chart.id == "main" else (chart.id or "").removeprefix("chart-")
        if name in feed.machine:
            chart.set_series(BY_CLOCK[name], feed.machine[name])
            return
        title, smoothing = METRICS[name]
        judged = name == "validation"
        chart.model.title = feed.judged.title if judged else title
        chart.model.short_title = feed.judged.label if judged else SHORT.get(name, "")
        if chart.id == "main" and name != self._shown:  # else the smoothing is the reader's
            self._shown, chart.model.smoothing = name, smoothing
        match name:
            case "validation":
                chart.set_series(feed.judged.label, feed.validation)
            case "reward":
                chart.set_series(name, feed.reward)
            case _:
                chart.set_series(name.replace("_", " "), feed.steps[name])

    def _set_domains(self, charts: list[RunChart], feed: Feed, history: History) -> None:
        """The planned extent of the axes, so that what is drawn stays where it is."""
        columns = history.steps.get(feed.stage)
        if columns is None or not columns.steps or not columns.tokens:
            return
        tokens = columns.tokens[-1] * columns.steps / max(1, columns.step[-1])
        wanted = {0: (0.0, float(columns.steps)), 1: (0.0, tokens)}
        for chart in _by_step(charts):
            if chart.model.domains != wanted:
                chart.set_x_domain("step", wanted[0])
                chart.set_x_domain("tokens", wanted[1])


def _metrics(feed: Feed) -> list[str]:
    """The metrics to show for the feed's stage: only rl has rewards."""
    return [name for name in METRICS if name != "reward" or feed.stage == "rl"]


def _by_step(charts: list[RunChart]) -> Iterator[RunChart]:
    return (chart for chart in charts if chart.model.axes == STEP_AXES)
