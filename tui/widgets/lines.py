"""Rows of styled text that repaints changed rows only, so that a slow connection can keep up."""

from collections.abc import Callable, Sequence

from textual import events
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from engine.core.sanitize import masked

Build = Callable[[int, int], Sequence[Content]]
"""Called with the available width and height; returns the rows."""


class Lines(Widget):
    """Rows from a function of the size, set with `show`; each call repaints the rows that changed."""

    DEFAULT_CSS = "Lines { width: 1fr; height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._build: Build = lambda width, height: []
        self._lines: list[Content] = []
        self._strips: dict[int, Strip] = {}

    def show(self, build: Build) -> None:
        """Show these rows, now and after a resize."""
        self._build = build
        if not self.size:
            return
        rows = build(self.size.width, self.size.height)
        fresh = [printable(row) for row in rows[: self.size.height]]
        height = max(len(fresh), len(self._lines))
        changed = [y for y in range(height) if not _same(fresh, self._lines, y)]
        self._lines = fresh
        for y in changed:
            self._strips.pop(y, None)
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    @property
    def text(self) -> str:
        """The text shown, without colors."""
        return "\n".join(line.plain for line in self._lines)

    def on_resize(self, _event: events.Resize) -> None:
        """Build the rows for the new size."""
        self._strips.clear()
        self._lines = []
        self.show(self._build)
        self.refresh()

    def notify_style_update(self) -> None:
        """Drop the strips drawn in the old theme."""
        super().notify_style_update()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """One row."""
        if y >= len(self._lines) or not self.size.width:
            return Strip.blank(self.size.width, self.rich_style)
        strip = self._strips.get(y)
        if strip is None:
            made = Visual.to_strips(self, self._lines[y], self.size.width, 1, self.visual_style, pad=True)
            strip = self._strips[y] = made[0] if made else Strip.blank(self.size.width, self.rich_style)
        return strip


def _same(fresh: Sequence[Content], shown: Sequence[Content], y: int) -> bool:
    return y < len(fresh) and y < len(shown) and fresh[y].is_same(shown[y])


def printable(content: Content) -> Content:
    """The content without control characters, which could otherwise control the terminal."""
    text = content.plain
    return content if text.isprintable() else Content(masked(text), spans=list(content.spans))
