"""The Compare screen: two to four runs in one chart, their values at equal tokens and time, and their settings."""

import math
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from textual.app import ScreenStackError
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from engine.config.stages import STAGES
from engine.core import formatting
from engine.core.errors import NanosoloError
from engine.events.scores import direction
from engine.run.directory import RunDirectory, find_run, list_runs
from tui import actions
from tui.chart.glyphs import ASCII, UNICODE
from tui.keys.bindings import bindings_for
from tui.runs import panels
from tui.runs.comparison import TIME, TOKENS, Level, differences, series_of, standings
from tui.runs.run_series import STEP_AXES, Feed
from tui.runs.watcher import News, RunWatcher
from tui.screens.base import ConsoleScreen
from tui.widgets.lines import Lines
from tui.widgets.rows import clip
from tui.widgets.run_chart import RunChart

METRICS = {  # key of the series -> title, smoothing, digits of a delta
    "loss": ("loss", 0.98, 4),
    "val_bpb": ("validation, bits per byte", 0.0, 4),
    "tokens_per_second": ("tokens per second", 0.95, 0),
    "grad_norm": ("gradient norm", 0.98, 3),
}
QUALITY = ("loss", "val_bpb")  # metrics of model quality
COLORS = ("$text-primary", "$text-warning", "$text-success", "$text-error")  # the colors of the layers in the chart

EMPTY = """
Nothing to compare yet. Comparing needs two runs with training steps.

  4   lists all runs: mark two to four with Space, then press v
"""


class Side:
    """One of the compared runs."""

    def __init__(self, watcher: RunWatcher, mark: Content) -> None:
        self.watcher = watcher
        self.mark = mark
        self.feed = Feed()
        self.state = ""
        self.trained: set[str] = set()  # the stages with training steps

    @property
    def name(self) -> str:
        return self.watcher.run.name


class CompareScreen(ConsoleScreen):
    """One chart, a table of values at equal tokens and time, the settings that differ."""

    MODE = "compare"
    KEYS_OF = "compare"
    BINDINGS = bindings_for("compare")
    AUTO_FOCUS = "#overlay"
    DEFAULT_CSS = """
    CompareScreen {
        #comparing { padding: 0 1; }
        #overlay { height: 1fr; }
        #standings { height: 4; margin-top: 1; }
        #differences { height: 5; margin-top: 1; }
        #none { display: none; padding: 1 3; }
        &.-nothing #comparing { display: none; }
        &.-nothing #none { display: block; }
    }
    """

    class Arrived(Message):
        """A watcher has news. Posted from its thread."""

        def __init__(self, side: Side, news: News) -> None:
            super().__init__()
            self.side, self.news = side, news

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[Side] = []
        self.metric = "loss"

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="comparing"):
            yield RunChart("loss", axes=STEP_AXES, smoothing=0.98, ascii_only=self.console.ascii_only, id="overlay")
            yield Lines(id="standings")
            yield Lines(id="differences")
        yield Lines(id="none")

    def on_mount(self) -> None:
        self.query_one("#none", Lines).show(lambda width, height: [Content(line) for line in EMPTY.splitlines()])
        self.watch(self.app, "compared", self._compare, init=False)

    def on_screen_resume(self) -> None:
        if len(self.sides) < 2:  # there may be new runs
            self._compare(self.console.compared)
        self._show()

    def on_unmount(self) -> None:
        self._stop()

    def _stop(self) -> None:
        for side in self.sides:
            side.watcher.stop()
        self.sides = []

    def _compare(self, names: Sequence[str]) -> None:
        """Watch these runs; without names, the newest two."""
        self._stop()
        runs = []
        for name in names:
            try:
                runs.append(find_run(name))
            except NanosoloError as error:
                self.console.tell_error(error)
        runs = runs if len(runs) > 1 else _newest_two()
        chart = self.query_one(RunChart)
        chart.clear()
        for run in runs:
            self._add(run)
        self.set_class(len(self.sides) < 2, "-nothing")
        self.show_about(f"{len(self.sides)} runs" if len(self.sides) > 1 else "")
        self._lay_out()

    def _add(self, run: RunDirectory) -> None:
        side: Side

        def tell(news: News) -> None:
            self.post_message(self.Arrived(side, news))

        watcher = RunWatcher(run, tell, max(1.0, self.console.settings.refresh_seconds))
        side = Side(watcher, mark(len(self.sides), self.console.ascii_only))
        self.sides.append(side)
        side.watcher.start()

    def _lay_out(self) -> None:
        """Give the chart the series of every run."""
        chart = self.query_one(RunChart)
        chart.clear()
        chart.model.title, chart.model.smoothing = self._title(), METRICS[self.metric][1]
        for side in self.sides:
            chart.set_series(side.name, series_of(side.feed, self.metric))
        self._show()

    def on_compare_screen_arrived(self, message: Arrived) -> None:
        """Apply the news of a watcher."""
        side = message.side
        if side not in self.sides:
            return
        side.state = message.news.state
        with side.watcher.lock:
            side.trained = {stage for stage, columns in side.watcher.history.steps.items() if len(columns)}
        stage, shown = self._stage(), [each.feed.generation for each in self.sides]
        for each in self.sides:
            if each is side or (stage is not None and each.feed.stage != stage):
                with each.watcher.lock:
                    each.feed.update(each.watcher.history, stage)
        if shown != [each.feed.generation for each in self.sides]:
            self._lay_out()
        else:
            self._show()

    def _stage(self) -> str | None:
        """The last training stage of which all runs have steps; steps of different stages cannot be compared."""
        shared = set.intersection(*(side.trained for side in self.sides))
        return max((stage for stage in STAGES if stage in shared), key=STAGES.index, default=None)

    def _title(self) -> str:
        """The metric, and the stage if it is not pretraining."""
        feed = self.sides[0].feed if self.sides else Feed()
        title = feed.judged.title if self.metric == "val_bpb" else METRICS[self.metric][0]
        if self.metric in QUALITY:
            title += f", {direction(feed.judged.metric if self.metric == 'val_bpb' else self.metric)}"
        return title if feed.stage in ("", "pretrain") else f"{feed.stage}: {title}"

    def _show(self) -> None:
        try:
            if self.app.screen is not self:
                return
        except ScreenStackError:
            return
        self.query_one(RunChart).data_changed()
        _, smoothing, digits = METRICS[self.metric]
        series = [series_of(side.feed, self.metric) for side in self.sides]
        by_tokens, by_time = (standings(series, axis, smoothing) for axis in (TOKENS, TIME))
        sides = list(self.sides)
        rows = self.query_one("#standings", Lines)
        rows.styles.height = len(sides) + 1
        rows.show(lambda width, height: standing_rows(sides, by_tokens, by_time, digits, width))
        found = differences({side.name: side.watcher.config for side in sides})
        self.query_one("#differences", Lines).show(lambda width, height: difference_rows(sides, found, width, height))

    # keys

    def action_next_metric(self) -> None:
        names = list(METRICS)
        self.metric = names[(names.index(self.metric) + 1) % len(names)]
        self._lay_out()

    def action_choose(self) -> None:
        self.console.action_go("runs")

    def action_settings(self) -> None:
        from tui.widgets.text_dialog import ReadingScreen

        sides = list(self.sides)
        found = differences({side.name: side.watcher.config for side in sides})
        self.app.push_screen(
            ReadingScreen("Settings that differ", lambda width, height: difference_rows(sides, found, width, None)[1:])
        )

    def action_copy(self) -> None:
        width = 120
        _, smoothing, digits = METRICS[self.metric]
        series = [series_of(side.feed, self.metric) for side in self.sides]
        by_tokens, by_time = (standings(series, axis, smoothing) for axis in (TOKENS, TIME))
        found = differences({side.name: side.watcher.config for side in self.sides})
        rows = standing_rows(self.sides, by_tokens, by_time, digits, width)
        rows += difference_rows(self.sides, found, width, None)
        actions.copy_text(self.console, "\n".join(row.plain.rstrip() for row in rows), "compared.txt")


def _newest_two() -> list[RunDirectory]:
    trained = [run for run in reversed(list_runs()) if run.events_file.exists()]
    return trained[:2]


def mark(index: int, ascii_only: bool) -> Content:
    """The mark of a run: the glyph of its line in its color."""
    glyphs = (ASCII if ascii_only else UNICODE).lines
    return Content.styled(glyphs[index % len(glyphs)], COLORS[index % len(COLORS)])


def standing_rows(sides: Sequence[Side], by_tokens: Level, by_time: Level, digits: int, width: int) -> list[Content]:
    """A header and one row per run."""
    each = 22 if width >= 100 else 19
    name = max(10, width - 2 - 10 - 2 * each)
    tokens = "?" if math.isnan(by_tokens.at) else formatting.count(by_tokens.at)
    spent = formatting.duration(by_time.at)
    head = f"{'':<{name + 2}}{'':<10}{f'at {tokens} tokens':>{each}}{f'after {spent}':>{each}}"
    rows = [Content.styled(head, "$quiet")]
    for i, side in enumerate(sides):
        line = side.mark + Content.styled(f" {clip(side.name, name - 1):<{name}}", "bold")
        line += Content.styled(f"{side.state:<10}", "$quiet")
        for level in (by_tokens, by_time):
            standing = level.standings[i]
            value = "-" if math.isnan(standing.value) else f"{standing.value:,.{digits}f}"
            delta = "" if i == 0 or math.isnan(standing.delta) else f"{standing.delta:+,.{digits}f}".replace("-", "−")
            line += Content.styled(f"{value:>{each - 9}}", "bold") + Content.styled(f"{delta:>9}", "$accent")
        rows.append(line)
    return rows


def difference_rows(
    sides: Sequence[Side], found: Sequence[tuple[str, tuple[str, ...]]], width: int, height: int | None
) -> list[Content]:
    """A heading and one row per setting that differs, as many as fit."""
    rows = [panels.heading("Settings that differ", width, "d: all")]
    if not found:
        rows.append(Content.styled("None. The runs have the same settings.", "$quiet"))
        return rows
    label = min(34, max(len(path) for path, _ in found) + 2)
    each = max(8, (width - label) // max(1, len(sides)))
    heads = [side.mark + Content(" " * (each - 1)) for side in sides]
    rows.append(Content(" " * label) + Content("").join(heads))
    room = len(found) if height is None else height - len(rows)
    for path, values in found[: room if len(found) <= room else max(0, room - 1)]:
        cells = "".join(f"{clip(value, each - 1)}{' ' * (each - min(cell_len(value), each - 1))}" for value in values)
        rows.append(Content.styled(f"{clip(path, label - 1):<{label}}", "$quiet") + Content(cells))
    if len(found) > room:
        rows.append(Content.styled(f"{len(found) - max(0, room - 1)} more; press d to show all", "$quiet"))
    return rows
