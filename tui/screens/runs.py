"""The Runs screen: all runs with their states; Enter watches one, Space marks it for comparison."""

import math
from collections.abc import Callable, Iterable, Sequence

from textual import on
from textual.app import ScreenStackError
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList

from engine.core import formatting
from engine.core.errors import NanosoloError
from engine.core.paths import runs_home
from engine.run.directory import RunDirectory
from engine.run.state import RunState
from engine.run.summary import RunSummary, SummaryReaders
from tui import actions
from tui.console import Console
from tui.keys.bindings import bindings_for
from tui.runs import panels
from tui.screens.base import ConsoleScreen
from tui.screens.run_files import show_files
from tui.terminal.background import read_in_background
from tui.widgets.lines import Lines, printable
from tui.widgets.rows import Row, RowList, clip, clip_middle

POLL_SECONDS = 2.0
MOST_MARKED = 4
LEAST_NAME = 12  # cells
LIVE: tuple[RunState, ...] = ("running", "stalled", "orphaned")

EMPTY = """
No runs yet.

  1   opens the plan: choose a preset, L reviews the launch, Enter starts it
      quickstart trains on this CPU in about six minutes

Runs are stored in {folder}. Set NANOSOLO_HOME to use another folder.
Runs of other machines appear here if they share that folder.
"""


class RunList(RowList):
    """One line per run: mark, name, state, progress, figures, age."""

    KEYS_OF = "runs"

    def __init__(self) -> None:
        super().__init__(id="runs")
        self.summaries: list[RunSummary] = []
        self.marked: list[str] = []

    def build(self, width: int) -> Sequence[Row]:
        return [Row(summary.run.name, self._describe(summary, width)) for summary in self.summaries]

    def _describe(self, summary: RunSummary, width: int) -> Content:
        mark = Content.styled("✓ ", "bold $accent") if summary.run.name in self.marked else Content("  ")
        line = mark + panels.sign(summary.status.tone) + Content(" ")
        # a run name is a file name and may contain any character
        return line + printable(
            Content.assemble(
                *(
                    (f"{clip(text, cells - 1):<{cells}}" if left else f"{clip(text, cells):>{cells}}", style)
                    for (_, cells, left), text, style in zip(
                        columns(width), values(summary, width), STYLES, strict=False
                    )
                )
            )
        )


def columns(width: int) -> list[tuple[str, int, bool]]:
    """(heading, cells, left-aligned) of each column that fits; the name gets the remaining cells."""
    wide = width >= 100
    fixed = [("state", 10, True), ("step", 16 if wide else 8, False), ("loss", 13 if wide else 11, False)]
    fixed += [("val bpb", 9, False), ("tokens/s", 9, False), ("age", 11, False)]
    while len(fixed) > 1 and width - 4 - sum(cells for _, cells, _ in fixed) < LEAST_NAME:
        fixed.pop()
    name = width - 4 - sum(cells for _, cells, _ in fixed)
    return [("run", max(1, name), True), *fixed]


STYLES = ("bold", "", "", "bold", "", "", "$quiet")


def values(summary: RunSummary, width: int) -> list[str]:
    """The texts of the columns."""
    wide = width >= 100
    steps = f"{summary.step:,}/{summary.steps:,}" if wide else _share(summary)
    return [
        clip_middle(summary.run.name, columns(width)[0][1] - 1),
        summary.status.state,
        steps if summary.steps else "-",
        _loss(summary),
        _number(summary.val_bpb, 4),
        "-" if math.isnan(summary.tokens_per_second) else formatting.count(summary.tokens_per_second),
        formatting.duration(summary.age).replace(" 00 s", ""),
    ]


def _share(summary: RunSummary) -> str:
    return formatting.percent(math.floor(100 * summary.step / summary.steps) / 100) if summary.steps else "-"


def _loss(summary: RunSummary) -> str:
    """The loss, with the stage if that is not pretraining, which has bits per byte in the next column."""
    loss = _number(summary.loss, 4)
    return loss if summary.trained in ("", "pretrain") else f"{summary.trained.removesuffix('train')} {loss}"


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


class RunsScreen(ConsoleScreen):
    """The list, and below it the status of the run under the cursor."""

    MODE = "runs"
    KEYS_OF = "runs"
    BINDINGS = bindings_for("runs")
    AUTO_FOCUS = "#runs"
    DEFAULT_CSS = """
    RunsScreen {
        #list { height: 1fr; padding: 0 1; }
        #heads { height: 1; }
        #runs { height: 1fr; }
        #said { height: 4; margin: 0 1; }
        #none { display: none; padding: 1 3; }
        &.-nothing #list, &.-nothing #said { display: none; }
        &.-nothing #none { display: block; }
    }
    """

    class Looked(Message):
        """All runs were read. Posted from a thread."""

        def __init__(self, summaries: list[RunSummary]) -> None:
            super().__init__()
            self.summaries = summaries

    def __init__(self) -> None:
        super().__init__()
        self.readers = SummaryReaders()
        self.marked: list[str] = []
        self._looking = False
        self._looked = False
        self._fault = ""

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="list"):
            yield Lines(id="heads")
            yield RunList()
        yield Lines(id="said")
        yield Lines(id="none")

    def on_mount(self) -> None:
        text = EMPTY.format(folder=runs_home())
        self.query_one("#none", Lines).show(lambda width, height: [Content(line) for line in text.splitlines()])
        self.query_one("#heads", Lines).show(lambda width, height: [_heads(width)])
        self.set_interval(POLL_SECONDS, self._look)

    def on_screen_resume(self) -> None:
        self._look()

    def _look(self) -> None:
        """Read all runs in a thread, unless a thread is reading them, or the screen is not shown."""
        try:
            seen = self.app.screen is self
        except ScreenStackError:
            seen = False
        if self._looking or not seen:
            return
        self._looking = True
        read_in_background(self, self._look_in_thread)

    def _look_in_thread(self) -> None:
        try:
            self.post_message(self.Looked(self.readers.look()))
        except NanosoloError as error:
            self.app.call_from_thread(self._failed, error)
        finally:
            self._looking = False

    def _failed(self, error: NanosoloError) -> None:
        """Show once why the runs cannot be read; the last list stays."""
        if str(error) != self._fault:
            self._fault = str(error)
            self.console.tell_error(error)

    def on_runs_screen_looked(self, message: Looked) -> None:
        """Show the runs."""
        rows = self.query_one(RunList)
        rows.summaries = message.summaries
        names = {summary.run.name for summary in message.summaries}
        self.marked = [name for name in self.marked if name in names]
        rows.marked = self.marked
        self.set_class(not message.summaries, "-nothing")
        rows.rebuild()
        if not self._looked and message.summaries:
            self._looked = True
            live = next((s.run.name for s in message.summaries if s.status.state in LIVE), None)
            rows.choose(live or message.summaries[0].run.name)
            rows.focus()
        live_now = sum(summary.status.state in LIVE for summary in message.summaries)
        count = len(message.summaries)
        self.show_about(f"{count} run{'s' * (count != 1)}, {live_now} running" if count else "")
        self._say()
        self.refresh_bindings()

    @property
    def chosen(self) -> RunSummary | None:
        """The run under the cursor."""
        rows = self.query_one(RunList)
        return next((s for s in rows.summaries if s.run.name == rows.chosen), None)

    @on(OptionList.OptionHighlighted)
    def _moved(self, _event: OptionList.OptionHighlighted) -> None:
        self._say()
        self.refresh_bindings()

    def _say(self) -> None:
        summary = self.chosen
        if summary is None:
            return
        marked = f"marked for comparison: {', '.join(self.marked)}" if self.marked else ""
        silent = "" if math.isnan(summary.silent) else f"last event {formatting.duration(summary.silent)} ago"

        def build(width: int, height: int) -> list[Content]:
            return [
                panels.heading(summary.run.name, width),
                panels.status_line(summary.status),
                Content.styled("   ".join(filter(None, (silent, str(summary.run.path)))), "$quiet"),
                Content.styled(marked, "$accent"),
            ]

        self.query_one("#said", Lines).show(build)

    # keys

    @on(OptionList.OptionSelected)
    def _selected(self, _event: OptionList.OptionSelected) -> None:
        self.action_open()

    def action_open(self) -> None:
        if self.chosen is not None:
            self.console.watch_run(self.chosen.run)

    def action_logs(self) -> None:
        if self.chosen is not None:
            self.console.watch_run(self.chosen.run, "logs")

    def action_mark(self) -> None:
        """Mark or unmark the run, at most four; then move the cursor down."""
        if self.chosen is None:
            return
        name = self.chosen.run.name
        if name in self.marked:
            self.marked.remove(name)
        elif len(self.marked) == MOST_MARKED:
            self.console.tell(f"At most {MOST_MARKED} runs can be compared. Unmark one first.", "warning")
            return
        else:
            self.marked.append(name)
        rows = self.query_one(RunList)
        rows.marked = self.marked
        rows.rebuild()
        rows.action_cursor_down()
        self._say()

    def action_compare(self) -> None:
        if len(self.marked) < 2:
            self.console.tell("Mark two to four runs with Space, then compare them.", "warning")
            return
        self.console.compared = tuple(self.marked)
        self.console.action_go("compare")

    def _on_run(self, action: Callable[[Console, RunDirectory], None]) -> None:
        if self.chosen is not None:
            action(self.console, self.chosen.run)

    def action_stop(self) -> None:
        self._on_run(actions.ask_to_stop)

    def action_checkpoint(self) -> None:
        self._on_run(actions.checkpoint)

    def action_resume(self) -> None:
        self._on_run(actions.resume)

    def action_stages(self) -> None:
        from tui.screens.rerun_stages import choose_stages

        self._on_run(lambda console, run: choose_stages(console, run, self._look))

    def action_files(self) -> None:
        self._on_run(show_files)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the state of the run under the cursor allows an action."""
        if action not in ("stop", "checkpoint", "resume", "open", "mark", "logs", "compare", "stages", "files"):
            return True
        summary = self.chosen if self.is_mounted else None
        if summary is None:
            return False
        state = summary.status.state
        if action in ("stop", "checkpoint"):
            return state in LIVE
        return state in ("stopped", "failed", "elsewhere", "new") if action == "resume" else True


def _heads(width: int) -> Content:
    cells = columns(max(10, width - 1))
    return Content.styled(
        "    " + "".join(f"{head:<{size}}" if left else f"{head:>{size}}" for head, size, left in cells), "$quiet"
    )
