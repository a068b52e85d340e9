"""The Logs screen: the engine log, read from the file on demand; follow, search, errors only."""

from collections.abc import Iterable

from rich.cells import cell_len
from textual import events, on
from textual.app import ScreenStackError
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from engine.core import formatting
from engine.run.directory import RunDirectory
from engine.run.summary import log_is_gone
from tui import actions
from tui.keys.bindings import bindings_for
from tui.runs.log_file import ERRORS, LogFile
from tui.screens.base import ConsoleScreen
from tui.terminal.background import read_in_background
from tui.widgets.lines import Lines

POLL_SECONDS = 0.5
COPIED_LINES = 200

NO_RUN = """
No run is selected.

  4   lists all runs; o opens the log of one
"""
NO_LOG = """
This run has no log yet.

The output of its stages is written to {path}.
"""


LOG_GONE = """
The log of this run is missing: {path} was deleted.

The events of the run are still there; press 3 to see them on Monitor.
"""


class LogsScreen(ConsoleScreen):
    """A window on the lines of engine.log. `top` is the first row shown; rows are lines, all or only errors."""

    MODE = "logs"
    KEYS_OF = "logs"
    BINDINGS = bindings_for("logs")
    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    LogsScreen {
        #about { height: 1; margin: 0 1; }
        #lines { height: 1fr; margin: 0 1; }
        #search { display: none; dock: bottom; margin-bottom: 1; }
        #search.-open { display: block; }
    }
    """

    class Counted(Message):
        """The file was read. Posted from a thread."""

        def __init__(self, log: LogFile, gone: bool) -> None:
            super().__init__()
            self.file, self.gone = log, gone

    class Found(Message):
        """A search has ended. Posted from a thread."""

        def __init__(self, log: LogFile, line: int | None, text: str) -> None:
            super().__init__()
            self.file, self.line, self.text = log, line, text

    def __init__(self) -> None:
        super().__init__()
        self.run: RunDirectory | None = None
        self.text_file: LogFile | None = None
        self.top = 0
        self.left = 0
        self.following = True
        self.only_errors = False
        self.needle = ""
        self.hit: int | None = None
        self.gone = False  # whether the log was deleted
        self._busy = False

    def compose_body(self) -> Iterable[Widget]:
        yield Lines(id="about")
        yield Lines(id="lines")
        yield Input(placeholder="Search · Enter find · Esc cancel", id="search")

    def on_mount(self) -> None:
        self.watch(self.app, "watched", self._watch)
        self.set_interval(POLL_SECONDS, self._poll)

    def _watch(self, run: RunDirectory | None) -> None:
        self.run = run
        self.text_file = LogFile(run.log_file) if run is not None else None
        self.top, self.left, self.following, self.hit, self.gone = 0, 0, True, None, False
        self.show_about(run.name if run is not None else "")
        self._poll()
        self._show()

    def on_screen_resume(self) -> None:
        self._poll()

    # reading, in threads

    def _poll(self) -> None:
        """Read the file in a thread, unless a thread is reading it, or the screen is not shown."""
        try:
            seen = self.app.screen is self
        except ScreenStackError:
            seen = False
        if self._busy or self.text_file is None or not seen:
            return
        self._busy = True
        run, log, errors = self.run, self.text_file, self.only_errors

        def look() -> None:
            gone = False
            try:
                log.update()
                if errors:
                    log.find_errors()
                gone = run is not None and not log.size and log_is_gone(run)
            finally:
                self._busy = False
                self.post_message(self.Counted(log, gone))

        read_in_background(self, look)

    def on_logs_screen_counted(self, message: Counted) -> None:
        """Show new lines if the view follows the end."""
        if message.file is self.text_file:
            self.gone = message.gone
            self._show()

    def _find(self, line: int, forward: bool) -> None:
        log, needle = self.text_file, self.needle
        if log is None or not needle:
            return

        def look() -> None:
            found = log.find(needle, line, forward)
            if found is None:  # wrap around
                found = log.find(needle, -1 if forward else log.line_count, forward)
            self.post_message(self.Found(log, found, needle))

        read_in_background(self, look)

    def on_logs_screen_found(self, message: Found) -> None:
        """Go to the match."""
        if message.file is not self.text_file:
            return
        if message.line is None:
            self.console.tell(f"No match for {message.text}.", "warning")
            return
        self.hit, self.following = message.line, False
        if self.only_errors:
            self.only_errors = False
        self.top = max(0, message.line - self.height // 3)
        self._show()

    # showing

    @property
    def height(self) -> int:
        """Height of the window in rows."""
        return max(1, self.query_one("#lines", Lines).size.height)

    @property
    def count(self) -> int:
        """Number of rows that can be shown."""
        if self.text_file is None:
            return 0
        return len(self.text_file.errors) if self.only_errors else self.text_file.line_count

    def _show(self) -> None:
        lines = self.query_one("#lines", Lines)
        nothing = NO_RUN
        if self.run is not None:
            nothing = (LOG_GONE if self.gone else NO_LOG).format(path=self.run.log_file)
        if self.run is None or not (self.count or self.only_errors):
            self.query_one("#about", Lines).show(lambda width, height: [])
            lines.show(lambda width, height: [Content(line) for line in nothing.splitlines()])
            return
        last = max(0, self.count - self.height)
        self.top = last if self.following else min(max(0, self.top), last)
        lines.show(self._rows)
        self.query_one("#about", Lines).show(lambda width, height: [self._about(width)])

    def _rows(self, width: int, height: int) -> list[Content]:
        log = self.text_file
        if log is None:
            return []
        if self.only_errors:
            numbers = list(log.errors[self.top : self.top + height])
            texts = [(log.lines(number, 1) or [""])[0] for number in numbers]
            if not numbers:
                none = "No errors or warnings. Press e to show all lines." if log.searched else "Searching …"
                return [Content(""), Content.styled(none, "$quiet")]
        else:
            texts = log.lines(self.top, height)
            numbers = list(range(self.top, self.top + len(texts)))
        digits = max(4, len(f"{log.line_count:,}"))
        return [self._row(number, text, digits) for number, text in zip(numbers, texts, strict=True)]

    def _row(self, number: int, text: str, digits: int) -> Content:
        style = "$error" if ERRORS.search(text.encode()) else ""
        body = Content.styled(text[self.left :], style)
        if self.needle:
            start = text.lower().find(self.needle.lower(), self.left)
            if start >= 0:
                at = start - self.left
                body = body.stylize("reverse", at, at + len(self.needle))
        mark = "▸" if number == self.hit else " "
        return Content.styled(f"{number + 1:>{digits},}", "$faint") + Content.styled(f"{mark} ", "$accent") + body

    def _about(self, width: int) -> Content:
        log = self.text_file
        if log is None:
            return Content("")
        what = f"{len(log.errors):,} error and warning lines" if self.only_errors else f"{log.line_count:,} lines"
        chips = [what, formatting.size(log.size)]
        chips += ["following" if self.following else f"line {self.top + 1:,}" if not self.only_errors else ""]
        chips += [f"from column {self.left + 1}"] if self.left else []
        chips += [f"search: {self.needle}"] if self.needle else []
        left = " · ".join(filter(None, chips))
        rule = "─" * max(0, width - cell_len(left) - cell_len("engine.log") - 2)
        return Content.styled("engine.log ", "bold $primary") + Content(f"{left} ") + Content.styled(rule, "$faint")

    # keys

    def action_move(self, by: int) -> None:
        self.following = False
        self.top += by
        if self.top >= max(0, self.count - self.height):
            self.following = by > 0
        self._show()

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.height - 1))

    def action_top(self) -> None:
        self.following, self.top = False, 0
        self._show()

    def action_bottom(self) -> None:
        self.following = True
        self._show()

    def action_shift(self, by: int) -> None:
        self.left = max(0, self.left + by)
        self._show()

    def action_follow(self) -> None:
        self.following = not self.following
        self._show()

    def action_errors(self) -> None:
        self.only_errors = not self.only_errors
        self.following, self.top = True, 0
        self._poll()
        self._show()

    def action_search(self) -> None:
        field = self.query_one("#search", Input)
        field.add_class("-open")
        field.focus()

    def action_next_hit(self, by: int) -> None:
        start = self.hit if self.hit is not None else self.top - (1 if by > 0 else 0)
        self._find(start, by > 0)

    @on(Input.Submitted, "#search")
    def _search(self, event: Input.Submitted) -> None:
        self.needle, self.hit = event.value, None
        self._close_search()
        self._find(self.top - 1, True)

    def _close_search(self) -> None:
        field = self.query_one("#search", Input)
        field.remove_class("-open")
        self.set_focus(None)
        self._show()

    def key_escape(self, event: events.Key) -> None:
        """Close the search field if it is open; otherwise go back."""
        if self.query_one("#search", Input).has_class("-open"):
            event.stop()
            event.prevent_default()
            self._close_search()

    def action_copy(self) -> None:
        """Copy the lines from the top of the window."""
        if self.text_file is not None:
            lines = self.text_file.lines(self.top, COPIED_LINES)
            actions.copy_text(self.console, "\n".join(lines), "log.txt")

    def on_mouse_scroll_down(self, _event: events.MouseScrollDown) -> None:
        self.action_move(3)

    def on_mouse_scroll_up(self, _event: events.MouseScrollUp) -> None:
        self.action_move(-3)

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._show)
