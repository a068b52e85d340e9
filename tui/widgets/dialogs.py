"""Two small dialogs: choose one of several items, and enter one line of text."""

import textwrap
from collections.abc import Callable, Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from tui.keys.bindings import bindings_for
from tui.planning.choices import Choice
from tui.widgets.rows import Row, RowList, clip


class ChoiceList(RowList):
    """Choices: a line with name and note, and details below."""

    def __init__(self, choices: Sequence[Choice], id: str | None = None) -> None:
        super().__init__(id=id)
        self.choices = choices

    def show(self, choices: Sequence[Choice]) -> None:
        """Replace the choices."""
        self.choices = choices
        self.rebuild()

    def build(self, width: int) -> Sequence[Row]:
        return [Row(choice.key, self._describe(choice, width)) for choice in self.choices]

    def _describe(self, choice: Choice, width: int) -> Content:
        first = Content.styled(f"{choice.name:<16}", "bold") + Content.styled(
            f" {clip(choice.note, width - 17)}", "$quiet"
        )
        wrapped = textwrap.wrap(choice.detail, max(10, width - 2))
        return Content("\n").join([first, *(Content.styled(f"  {line}", "$quiet") for line in wrapped)])


class ChoiceDialog(ModalScreen[str | None]):
    """Choose one; the result is its key."""

    BINDINGS = bindings_for("dialog")
    KEYS_OF = "dialog"
    SUBTITLE = "Enter select · Esc cancel · ? help"
    DEFAULT_CSS = "ChoiceDialog ChoiceList { height: auto; max-height: 100%; }"

    def __init__(self, title: str, choices: Sequence[Choice], current: str) -> None:
        super().__init__()
        self.title_text, self.choices, self.current = title, choices, current

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self.title_text
            dialog.border_subtitle = self.SUBTITLE
            yield ChoiceList(self.choices)

    def on_mount(self) -> None:
        choices = self.query_one(ChoiceList)
        choices.rebuild()
        choices.choose(self.current)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.take(event.option_id)

    def take(self, key: str | None) -> None:
        """Enter was pressed on a choice."""
        self.dismiss(key)


class TextDialog(ModalScreen[str | None]):
    """Enter one line of text. `note` says what it is for; `validate` returns what is wrong with it, or nothing."""

    BINDINGS = bindings_for("dialog")
    KEYS_OF = "dialog"

    def __init__(self, title: str, note: str, value: str, validate: Callable[[str], str]) -> None:
        super().__init__()
        self.title_text, self.note, self.value, self.validate = title, note, value, validate

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self.title_text
            dialog.border_subtitle = "Enter accept · Esc cancel"
            yield Static(self.note, classes="quiet", markup=False)
            yield Static("")
            yield Input(self.value)
            yield Static("", id="error", markup=False)

    @on(Input.Changed)
    def _show_error(self, event: Input.Changed) -> None:
        self.query_one("#error", Static).update(Content.styled(self.validate(event.value), "$error"))

    @on(Input.Submitted)
    def _accept(self, event: Input.Submitted) -> None:
        if not self.validate(event.value):
            self.dismiss(event.value)
