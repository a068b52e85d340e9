"""Dialogs of the Chat screen: choose a checkpoint, edit the sampling settings."""

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from engine.core import formatting
from engine.core.errors import UsageError
from engine.core.sanitize import terminal_text
from engine.inference.chat_settings import COMMANDS, NUMBERS, Settings, change, value_of
from tui.chat.messages import LABELS
from tui.chat.model_picker import ChatModel
from tui.keys.bindings import bindings_for
from tui.widgets.rows import Row, RowList, clip


class ModelList(RowList):
    """The checkpoints, grouped by run."""

    def __init__(self, models: Sequence[ChatModel]) -> None:
        super().__init__()
        self.models = models

    def build(self, width: int) -> Sequence[Row]:
        rows: list[Row] = []
        for number, model in enumerate(self.models):
            checkpoint = model.checkpoint
            if not number or self.models[number - 1].run.path != model.run.path:
                rows.append(Row(None, Content.styled(clip(terminal_text(model.run.name), width), "bold $primary")))
            kind = "chats" if checkpoint.chats else "continues text"
            line = f"  {checkpoint.stage:<10}{f'step {checkpoint.step:,}':<16}{kind:<19}"
            age = f"{formatting.duration(model.age)} ago"
            rows.append(Row(str(number), Content(line) + Content.styled(age, "$quiet")))
        return rows


class ModelDialog(ModalScreen[ChatModel | None]):
    """Choose a checkpoint."""

    BINDINGS = bindings_for("dialog")
    KEYS_OF = "dialog"
    DEFAULT_CSS = "ModelDialog ModelList { height: auto; max-height: 100%; }"

    def __init__(self, title: str, models: Sequence[ChatModel], current: ChatModel | None) -> None:
        super().__init__()
        self.title_text, self.models, self.current = title, models, current

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self.title_text
            dialog.border_subtitle = "Enter select · Esc cancel · ? help"
            yield ModelList(self.models)

    def on_mount(self) -> None:
        rows = self.query_one(ModelList)
        rows.rebuild()
        rows.choose(str(self.models.index(self.current)) if self.current in self.models else None)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.models[int(event.option_id or 0)])


class SettingField(Input):
    """The input field of one setting."""

    KEYS_OF = "chat-setting"
    BINDINGS = bindings_for("chat-setting")

    def action_other(self, by: int) -> None:
        (self.screen.focus_next if by > 0 else self.screen.focus_previous)(SettingField)

    def action_leave_field(self) -> None:
        self.screen.dismiss(None)


_HELP = {command.name: command.help.replace("`", "") for command in COMMANDS}


class SettingsDialog(ModalScreen[tuple[Settings, str] | None]):
    """Edit the sampling settings and the system prompt. Enter saves all of them."""

    BINDINGS = bindings_for("dialog")
    KEYS_OF = "dialog"
    DEFAULT_CSS = """
    SettingsDialog .row { height: 1; }
    SettingsDialog .row Static { width: 15; color: $quiet; }
    SettingsDialog .row Input { width: 1fr; }
    SettingsDialog #about { height: auto; margin-top: 1; }
    """

    def __init__(self, settings: Settings, system: str) -> None:
        super().__init__()
        self.settings, self.system = settings, system

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Chat settings"
            dialog.border_subtitle = "Enter save · Esc cancel"
            for name, label in LABELS.items():
                value = self.system if name == "system" else value_of(self.settings, name)
                with Horizontal(classes="row"):
                    yield Static(label, markup=False)
                    yield SettingField(value, id=name, select_on_focus=name != "system")
            yield Static(id="about", markup=False)

    def on_mount(self) -> None:
        self.query_one("#temperature", SettingField).focus()

    def on_descendant_focus(self) -> None:
        self._validate_fields()

    @on(Input.Changed)
    def _validate_fields(self) -> None:
        """Show the help of the focused field, or the first error."""
        field = self.focused
        about = Content.styled(_HELP.get(field.id or "", ""), "$quiet") if field is not None else Content("")
        try:
            self._read()
        except UsageError as error:
            about = Content.styled(str(error), "$error")
        self.query_one("#about", Static).update(about)

    def _read(self) -> tuple[Settings, str]:
        settings = self.settings
        for name in NUMBERS:
            settings = change(settings, name, self.query_one(f"#{name}", SettingField).value.strip())
        return settings, self.query_one("#system", SettingField).value.strip()

    @on(Input.Submitted)
    def _keep(self) -> None:
        try:
            self.dismiss(self._read())
        except UsageError:
            self._validate_fields()  # shows the error
