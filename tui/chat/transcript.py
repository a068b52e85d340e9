"""A transcript that follows its end until the user scrolls up. Only changed rows are repainted."""

from collections.abc import Callable, Sequence

from textual import events
from textual.content import Content

from tui.keys.bindings import bindings_for
from tui.widgets.lines import Lines

Rows = Callable[[int], Sequence[Content]]
"""Called with the available width; returns all rows."""


class Transcript(Lines, can_focus=True):
    """Rows from a function of the width, with a scroll bar on the right."""

    KEYS_OF = "transcript"
    BINDINGS = bindings_for("transcript")

    def __init__(self) -> None:
        super().__init__(classes="transcript")
        self.top = 0
        self.following = True
        self._rows: Rows = lambda width: []
        self._count = 0

    def set_rows(self, rows: Rows) -> None:
        """Show these rows."""
        self._rows = rows
        self._paint()

    @property
    def last_top(self) -> int:
        """The first visible row when scrolled to the end."""
        return max(0, self._count - self.size.height)

    def scroll_rows(self, by: int) -> None:
        """Scroll by some rows. At the end, follow new rows again."""
        self.following = False
        self.top = min(max(0, self.top + by), self.last_top)
        self.following = self.top == self.last_top
        self._paint()

    def action_move(self, by: int) -> None:
        self.scroll_rows(by)

    def action_page(self, by: int) -> None:
        self.scroll_rows(by * max(1, self.size.height - 1))

    def action_first(self) -> None:
        self.scroll_rows(-self._count)

    def action_last(self) -> None:
        self.scroll_rows(self._count)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_rows(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_rows(-3)

    def _paint(self) -> None:
        self.show(self._window)

    def _window(self, width: int, height: int) -> list[Content]:
        rows = list(self._rows(max(8, width - 2)))
        while rows and not rows[-1].plain.strip():
            rows.pop()
        self._count = len(rows)
        self.top = self.last_top if self.following else min(self.top, self.last_top)
        shown = rows[self.top : self.top + height]
        if len(rows) <= height:
            return shown
        size = max(1, height * height // len(rows))
        place = round((height - size) * self.top / self.last_top)
        return [
            row + Content(" " * (width - 1 - row.cell_length)) + Content.styled("┃", "$faint")
            if place <= y < place + size
            else row
            for y, row in enumerate(shown)
        ]
