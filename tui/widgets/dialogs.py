"""Two small dialogs: choose one of several, and type one line."""

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
    """Choices: a line with name and note, and what there is to say beneath."""

    def __init__(self, choices: Sequence[Choice], id: str | None = None) -> None:
        super().__init__(id=id)
        self.choices = choices

    def show(self, choices: Sequence[Choice]) -> None:
        """Show other choices."""
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
    """Choose one; the answer is its key."""

    BINDINGS = bindings_for("dialog")
    KEYS_OF = "dialog"
    SUBTITLE = "Enter takes it · Esc leaves · ? help"
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
    """Type one line. `judge` says what is wrong with it, or nothing; `note` what it will do."""

    BINDINGS = bindings_for("dialog")
    KEYS_OF = "dialog"

    def __init__(self, title: str, note: str, value: str, judge: Callable[[str], str]) -> None:
        super().__init__()
        self.title_text, self.note, self.value, self.judge = title, note, value, judge

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self.title_text
            dialog.border_subtitle = "Enter takes it · Esc leaves"
            yield Static(self.note, classes="quiet", markup=False)
            yield Static("")
            yield Input(self.value)
            yield Static("", id="fault", markup=False)

    @on(Input.Changed)
    def _judge(self, event: Input.Changed) -> None:
        self.query_one("#fault", Static).update(Content.styled(self.judge(event.value), "$error"))

    @on(Input.Submitted)
    def _take(self, event: Input.Submitted) -> None:
        if not self.judge(event.value):
            self.dismiss(event.value)
