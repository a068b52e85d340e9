"""A list of rows built for the current width: selectable rows, and headings that the cursor skips."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.keys.bindings import bindings_for


class Row(NamedTuple):
    """One row. `key` is None for headings and bars, which the cursor skips."""

    key: str | None
    content: Content


class RowList(OptionList, inherit_bindings=True):
    """Rows from `build(width)`; the cursor stays on the same key when they are rebuilt."""

    BINDINGS = bindings_for("list")
    DEFAULT_CSS = """
    RowList { background: transparent; padding: 0; scrollbar-size-vertical: 1; overflow-x: hidden;
        scrollbar-gutter: stable; }
    RowList > .option-list--option { padding: 0; }
    RowList > .option-list--option-disabled { color: $foreground; }
    RowList > .option-list--option-highlighted {
        color: $block-cursor-blurred-foreground; background: $block-cursor-blurred-background;
        text-style: $block-cursor-blurred-text-style;
    }
    RowList:focus > .option-list--option-highlighted {
        color: $block-cursor-foreground; background: $block-cursor-background; text-style: $block-cursor-text-style;
    }
    """

    def build(self, width: int) -> Sequence[Row]:
        """The rows for a width in cells."""
        raise NotImplementedError

    @property
    def row_width(self) -> int:
        """Cells available for a row, without the scroll bar."""
        return max(10, self.scrollable_content_region.width)

    @property
    def chosen(self) -> str | None:
        """The key under the cursor."""
        option = self.highlighted_option
        return option.id if option is not None else None

    def rebuild(self) -> None:
        """Rebuild all rows; only changed rows are redrawn."""
        rows = list(self.build(self.row_width))
        if [row.key for row in rows] == [option.id for option in self._options]:
            for index, row in enumerate(rows):
                old = self._options[index].prompt
                # Content compares equal if the texts are equal, regardless of the styles
                if old != row.content or not isinstance(old, Content) or old.spans != row.content.spans:
                    self.replace_option_prompt_at_index(index, row.content)
            return
        kept = self.chosen
        with self.prevent(OptionList.OptionHighlighted):
            self.set_options([Option(row.content, id=row.key, disabled=row.key is None) for row in rows])
        self.choose(kept)

    def choose(self, key: str | None) -> None:
        """Move the cursor to a key, or to the first row if the key is not there."""
        keys = [option.id for option in self._options]
        if key in keys and key is not None:
            self.highlighted = keys.index(key)
        else:
            self.action_first()

    def on_resize(self, _event: events.Resize) -> None:
        self.rebuild()


def columns(width: int, left: Content, right: Content) -> Content:
    """`left`, and `right` at the right edge; `left` is truncated if needed."""
    room = width - right.cell_length - 1
    if left.cell_length > room:
        left = left.truncate(max(1, room), ellipsis=True)
    return left + Content(" " * (width - left.cell_length - right.cell_length)) + right


def clip_middle(text: str, width: int) -> str:
    """The text in at most `width` cells, shortened in the middle: names often differ only at the end."""
    if cell_len(text) <= width:
        return text
    end = ""
    while cell_len(text[-len(end) - 1 :]) <= (width - 1) // 2:
        end = text[-len(end) - 1 :]
    return clip(text, width - cell_len(end)) + end


def clip(text: str, width: int) -> str:
    """The text in at most `width` cells, with an ellipsis if it is shortened."""
    if cell_len(text) <= width:
        return text
    while text and cell_len(text) > width - 1:
        text = text[:-1]
    return text.rstrip() + "…"
