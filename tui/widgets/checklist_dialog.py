"""A dialog to select several items of a list; below it, the effect of the selection, or why it is not valid."""

from collections.abc import Callable, Collection, Sequence
from typing import ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from tui.keys.bindings import bindings_for
from tui.widgets.rows import Row, RowList, clip


class Item(NamedTuple):
    """An item of the list."""

    key: str
    note: str


class Validation(NamedTuple):
    """The effect of a selection in lines, or why it is not valid."""

    lines: tuple[str, ...] = ()
    error: str = ""


class Checklist(RowList):
    """The items with check boxes."""

    def __init__(self, items: Sequence[Item], selected: Collection[str]) -> None:
        super().__init__()
        self.items = items
        self.selected = set(selected)

    def build(self, width: int) -> Sequence[Row]:
        return [Row(item.key, self._describe(item, width)) for item in self.items]

    def _describe(self, item: Item, width: int) -> Content:
        selected = item.key in self.selected
        mark = Content.styled("[x] ", "bold $accent") if selected else Content.styled("[ ] ", "$quiet")
        name = Content.styled(f"{item.key:<14}", "bold" if selected else "")
        return mark + name + Content.styled(clip(item.note, width - 18), "$quiet")


class ChecklistDialog(ModalScreen[tuple[str, ...] | None]):
    """Select any number of items; the result is their keys, in the order of the list."""

    BINDINGS: ClassVar = [*bindings_for("dialog"), *bindings_for("checklist")]
    KEYS_OF = "checklist"
    DEFAULT_CSS = """
    ChecklistDialog > .dialog { padding: 0 2; }
    ChecklistDialog {
        Checklist { height: auto; max-height: 14; }
        #effect { height: auto; max-height: 7; margin-top: 1; }
    }
    """

    def __init__(
        self,
        title: str,
        enter: str,
        items: Sequence[Item],
        selected: Collection[str],
        validate: Callable[[tuple[str, ...]], Validation],
    ) -> None:
        """`enter`: what the Enter key does, in one or two words; `selected`: the keys selected at first."""
        super().__init__()
        self.title_text, self.enter, self.items, self.first = title, enter, items, selected
        self.validate = validate

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self.title_text
            dialog.border_subtitle = f"Space select · Enter {self.enter} · Esc cancel · ? help"
            yield Checklist(self.items, self.first)
            yield Static("", id="effect", markup=False)

    def on_mount(self) -> None:
        self.query_one(Checklist).rebuild()
        self._validate()

    @property
    def selected(self) -> tuple[str, ...]:
        """The selected keys, in the order of the list."""
        return tuple(item.key for item in self.items if item.key in self.query_one(Checklist).selected)

    def action_toggle_item(self) -> None:
        items = self.query_one(Checklist)
        if items.chosen is not None:
            items.selected ^= {items.chosen}
            items.rebuild()
            self._validate()

    @on(OptionList.OptionSelected)
    def action_confirm(self) -> None:
        if not self._validate().error:
            self.dismiss(self.selected)

    def _validate(self) -> Validation:
        found = self.validate(self.selected)
        lines = [Content.styled(found.error, "$error")] if found.error else [Content(line) for line in found.lines]
        self.query_one("#effect", Static).update(Content("\n").join(lines))
        return found
