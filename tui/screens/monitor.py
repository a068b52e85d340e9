"""The Monitor: the status of the watched run at a glance, with charts, figures, advice and samples below."""

import time
from collections.abc import Iterable

from textual import events
from textual.app import ScreenStackError
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from engine.core.diagnostic import Diagnostic
from engine.diagnostics.live import diagnose
from engine.diagnostics.oom import ran_out
from engine.run.directory import RunDirectory
from engine.run.status import RunStatus, damaged, run_status
from tui import actions
from tui.keys.bindings import bindings_for
from tui.runs import panels
from tui.runs.chart_board import ChartBoard
from tui.runs.key_numbers import brief, comparisons, learning_figures, machine_figures
from tui.runs.run_series import Feed
from tui.runs.stage_bar import pipeline_line
from tui.runs.watcher import News, RunWatcher
from tui.screens.base import ConsoleScreen
from tui.screens.run_files import show_files
from tui.widgets.diagnostic_rows import advice_rows
from tui.widgets.lines import Lines

ADVICE_SECONDS = 5.0
EMPTY = """
No run is selected.

  4   lists all runs; Enter watches one
  1   plans a new run; L reviews and launches it

Training continues without the console. q quits, nanosolo comes back.
"""


class MonitorScreen(ConsoleScreen):
    """Status, pipeline, charts, figures, advice and samples of the watched run."""

    MODE = "monitor"
    KEYS_OF = "monitor"
    BINDINGS = bindings_for("monitor")
    AUTO_FOCUS = "#main"
    CSS_PATH = "monitor.tcss"

    class Arrived(Message):
        """The watcher has news. Posted from its thread."""

        def __init__(self, watcher: RunWatcher, news: News) -> None:
            super().__init__()
            self.watcher, self.news = watcher, news

    def __init__(self) -> None:
        super().__init__()
        self.watcher: RunWatcher | None = None
        self.news: News | None = None
        self.feed = Feed()
        self.findings: list[Diagnostic] = []
        self._advised = 0.0  # when the advice was last computed
        self._unadvised = False  # whether there is news since then
        self._doctored: set[tuple[str, float]] = set()

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="watching"):
            yield Lines(id="verdict")
            yield Lines(id="pipeline")
            with Horizontal(id="middle"):
                yield ChartBoard(self.console.ascii_only)
                yield Lines(id="side")
            yield Lines(id="brief")
            yield Lines(id="advice")
            yield Lines(id="samples")
        yield Lines(id="empty")

    def on_mount(self) -> None:
        self.query_one("#empty", Lines).show(lambda width, height: [Content(line) for line in EMPTY.splitlines()])
        self.watch(self.app, "watched", self._watch)
        self.set_interval(1.0, self._tick)

    def on_unmount(self) -> None:
        if self.watcher is not None:
            self.watcher.stop()

    # the watched run

    def _watch(self, run: RunDirectory | None) -> None:
        if self.watcher is not None:
            self.watcher.stop()
        self.watcher, self.news, self.findings, self._advised = None, None, [], 0.0
        self.feed = Feed()
        self.query_one(ChartBoard).forget()
        self.set_class(run is None, "-nothing")
        self.show_about(run.name if run is not None else "")
        if run is not None:
            self.watcher = self._watcher_of(run)
            # paint first: a thread that reads a long run would slow down the first paint
            self.call_after_refresh(self.watcher.start)
        self._show_all()

    def _watcher_of(self, run: RunDirectory) -> RunWatcher:
        def tell(news: News) -> None:  # from its thread, possibly after another run was selected
            self.post_message(self.Arrived(watcher, news))

        watcher = RunWatcher(run, tell, self.console.settings.refresh_seconds)
        return watcher

    def on_monitor_screen_arrived(self, message: Arrived) -> None:
        """Apply the news of the watcher."""
        if message.watcher is not self.watcher:
            return
        state = self.news.state if self.news is not None else ""
        self.news = message.news
        if state != message.news.state:
            self.refresh_bindings()
        with message.watcher.lock:
            self.feed.update(message.watcher.history)
        self._unadvised = True
        if self.in_view:
            self._show_all()
        self._check_memory()

    @property
    def in_view(self) -> bool:
        """Whether this screen is shown."""
        try:
            return self.app.screen is self
        except ScreenStackError:
            return False

    def on_screen_resume(self) -> None:
        self._show_all()
        self.call_after_refresh(self._check_memory)

    # showing

    def _tick(self) -> None:
        if self.in_view:
            if self._advice_is_due:
                self._show_all()
            self._show_verdict()

    @property
    def _advice_is_due(self) -> bool:
        """Every few seconds while the run is running, at once when it is not."""
        live = self.news is None or self.news.loading or self.news.state in ("running", "stalled", "orphaned")
        return self._unadvised and (not live or time.monotonic() - self._advised > ADVICE_SECONDS)

    @property
    def run_status(self) -> RunStatus:
        """The status of the run."""
        if self.watcher is None or self.news is None:
            return RunStatus("new", "reading", "busy")
        watcher, state = self.watcher, self.news.state
        if watcher.config_fault and watcher.history.started is None:
            return damaged(watcher.config_fault)
        return run_status(watcher.run.name, state, watcher.history, time.time(), watcher.config)

    def _show_verdict(self) -> None:
        if self.watcher is None:
            return
        with self.watcher.lock:
            said = self.run_status
        faults = [f for f in (self.news.faults if self.news is not None else ()) if f not in said.text]
        rows = panels.status_rows(said, max(20, self.size.width - 2))
        rows += [panels.fault_line(fault) for fault in faults]
        widget = self.query_one("#verdict", Lines)
        widget.styles.height = len(rows)
        widget.show(lambda width, height: rows)

    def _show_all(self) -> None:
        """Update everything from the history."""
        if self.watcher is not None and self.is_mounted:
            with self.watcher.lock:  # its thread adds to the history
                self._show_parts(self.watcher, self.feed)

    def _show_parts(self, watcher: RunWatcher, feed: Feed) -> None:
        self._show_verdict()
        history, plan, config = watcher.history, watcher.plan, watcher.config
        self.query_one(ChartBoard).show(feed, history)
        if self._advice_is_due:
            self._advised, self._unadvised = time.monotonic(), False
            self.findings = diagnose(history, plan, config, time.time())
        learning, machine = learning_figures(feed, history, plan), machine_figures(feed, history, plan)
        compared, findings, samples = comparisons(history, plan), self.findings, history.samples
        few = brief(feed, history, plan)

        def side(width: int, height: int) -> list[Content]:
            rows = [panels.heading("Learning", width), *panels.table(learning, width), Content("")]
            rows += [panels.heading("Machine", width), *panels.table(machine, width)[1:], Content("")]
            rows += [
                panels.heading("Predicted and measured", width),
                *panels.comparison_table(compared, width)[1:],
                Content(""),
            ]
            rows += [panels.heading("Advice", width, "a: more"), *advice_rows(findings, width)]
            return rows

        live = self.news is None or self.news.state != "failed"

        def pipeline(width: int, height: int) -> list[Content]:
            with watcher.lock:  # called again when the size changes
                return [pipeline_line(history, config, width, live)]

        self.query_one("#pipeline", Lines).show(pipeline)
        self.query_one("#side", Lines).show(side)
        self.query_one("#brief", Lines).show(lambda width, height: panels.grid(few, width, 4 if width < 130 else 6))
        self.query_one("#advice", Lines).show(lambda width, height: [panels.advice_line(findings, "a", width)])
        step = f"step {samples[-1].step:,}" if samples else ""
        self.query_one("#samples", Lines).show(
            lambda width, height: [
                panels.heading("Samples", width, step),
                *panels.sample_rows(samples, width, height - 1),
            ]
        )
        self.set_class(bool(len(history.machine)) and history.machine.has_gpu, "-gpu")

    # keys

    def action_next_metric(self) -> None:
        if self.watcher is not None:
            board = self.query_one(ChartBoard)
            board.next_metric(self.feed)
            board.show(self.feed, self.watcher.history)

    def action_advice(self) -> None:
        from tui.widgets.text_dialog import ReadingScreen

        if self.watcher is None:
            return
        findings, compared = self.findings, comparisons(self.watcher.history, self.watcher.plan)

        def build(width: int, height: int) -> list[Content]:
            rows = advice_rows(findings, width, commands=True)
            if compared:
                rows += [Content(""), panels.heading("Predicted and measured", width)]
                rows += panels.comparison_table(compared, width)
            return rows

        self.app.push_screen(ReadingScreen("Advice", build))

    def action_samples(self) -> None:
        from tui.widgets.text_dialog import ReadingScreen

        if self.watcher is not None:
            samples = list(self.watcher.history.samples)
            title = f"Samples of step {samples[-1].step:,}" if samples else "Samples"
            self.app.push_screen(ReadingScreen(title, lambda width, height: panels.sample_rows(samples, width)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the state of the run allows an action."""
        state = self.news.state if self.news is not None else ""
        alive = state in ("running", "stalled", "orphaned")
        if action in ("stop", "checkpoint"):
            return alive
        if action == "resume":
            return state in ("stopped", "failed", "elsewhere", "new")
        if action == "doctor":
            return self._ran_out()
        return (
            True
            if action not in ("copy", "advice", "samples", "next_metric", "stages", "files")
            else self.watcher is not None
        )

    def action_stop(self) -> None:
        if self.watcher is not None:
            actions.ask_to_stop(self.console, self.watcher.run)

    def action_checkpoint(self) -> None:
        if self.watcher is not None:
            actions.checkpoint(self.console, self.watcher.run)

    def action_resume(self) -> None:
        if self.watcher is not None:
            actions.resume(self.console, self.watcher.run)

    def action_stages(self) -> None:
        from tui.screens.rerun_stages import choose_stages

        if self.watcher is not None:
            choose_stages(self.console, self.watcher.run, self.watcher.wake)

    def action_files(self) -> None:
        if self.watcher is not None:
            show_files(self.console, self.watcher.run)

    def action_copy(self) -> None:
        if self.watcher is None:
            return
        rows = [f"{self.watcher.run.name}: {self.run_status.text}"]
        figures = brief(self.feed, self.watcher.history, self.watcher.plan)
        rows += [f"{label}: {value}" for label, value in figures if "-" not in value[:1]]
        rows += [f"advice: {f.message}. {f.advice}" for f in self.findings]
        rows += [str(self.watcher.run.path)]
        actions.copy_text(self.console, "\n".join(rows), "copied.txt")

    # out of memory

    def _ran_out(self) -> bool:
        state = self.news.state if self.news is not None else ""
        return self.watcher is not None and state == "failed" and ran_out(self.watcher.history)

    def _check_memory(self) -> None:
        """Open the doctor once for each time the run ran out of memory."""
        if self.watcher is None or self.news is None or self.news.loading or not self._ran_out():
            return
        ended = self.watcher.history.ended
        key = (self.watcher.run.name, ended.t if ended is not None else 0.0)
        if key in self._doctored or not self.in_view:
            return
        self._doctored.add(key)
        self.action_doctor()

    def action_doctor(self) -> None:
        from tui.screens.oom_doctor import OomDoctor

        if self.watcher is not None:
            self.app.push_screen(
                OomDoctor(self.watcher.run, self.watcher.history, self.watcher.plan, self.watcher.config)
            )

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._show_all)
