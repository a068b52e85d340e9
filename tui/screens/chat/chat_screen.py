"""The Chat screen: chat with a checkpoint of any run, or with two side by side, each in its own process."""

from collections.abc import Iterable, Sequence

from textual import on
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from engine.core.errors import NanosoloError
from engine.core.paths import runs_home
from engine.core.sanitize import terminal_text
from engine.inference.chat_settings import (
    NUMBERS,
    Settings,
    change,
    file_to_save,
    read_command,
    save_conversations,
    value_of,
)
from engine.run.directory import RunDirectory
from tui import actions
from tui.chat.composer import Composer
from tui.chat.messages import NO_CHECKPOINTS, NO_RUNS, chips, command_rows, device_notes
from tui.chat.model_picker import ChatModel, Scene, look
from tui.chat.pane import ChatPane
from tui.chat.render import compared
from tui.chat.transcript import Transcript
from tui.keys.bindings import bindings_for
from tui.screens.base import ConsoleScreen
from tui.screens.chat.chat_dialogs import ModelDialog, SettingsDialog
from tui.terminal.background import read_in_background
from tui.widgets.lines import Lines
from tui.widgets.text_dialog import ReadingScreen


class ChatScreen(ConsoleScreen):
    """One pane or two. Messages go to all of them."""

    MODE = "chat"
    KEYS_OF = "chat"
    BINDINGS = bindings_for("chat")
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = ""

    class Looked(Message):
        """Runs and devices have been read. Posted from a thread."""

        def __init__(self, scene: Scene | NanosoloError, number: int) -> None:
            super().__init__()
            self.scene, self.number = scene, number

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(0, (), False, ())
        self.settings = Settings()
        self.system = ""
        self.device = ""  # chosen by the user; empty: the default of the scene
        self.comparing = False
        self.active = "a"
        self._away = True
        self._looks = 0  # number of reads; results of earlier reads are ignored
        self._to_load: list[ChatPane] = []  # after the current read
        self._wanted: RunDirectory | None = None  # the run wanted when the screen was last shown

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="chat"):
            with Container(id="panes"):
                yield ChatPane("A")
                yield ChatPane("B")
            yield Lines(id="compared")
            yield Lines(id="chips")
            with Horizontal(id="entry"):
                yield Static("›", id="prompt", markup=False)
                yield Composer()
        yield Lines(id="none")

    def on_mount(self) -> None:
        self.query_one("#chips", Lines).show(lambda width, height: [chips(self.settings, self.system, width)])
        self.query_one("#compared", Lines).show(lambda width, height: [self._compared()])

    # show and hide

    def on_screen_resume(self) -> None:
        """Load the models again after another screen was shown (not after a dialog)."""
        if self._away:
            self._away = False
            self.query_one(Composer).focus()
            self._look(self.panes)

    def on_screen_suspend(self) -> None:
        """Stop the models when another screen is shown (not a dialog)."""
        if self.app.current_mode != self.MODE:
            self._away = True
            for pane in self.panes:
                pane.shut()

    @property
    def pane_a(self) -> ChatPane:
        """The first pane, always visible."""
        return self.query_one("#pane-a", ChatPane)

    @property
    def pane_b(self) -> ChatPane:
        """The second pane, for comparison."""
        return self.query_one("#pane-b", ChatPane)

    @property
    def panes(self) -> list[ChatPane]:
        """The visible panes."""
        return [self.pane_a, self.pane_b] if self.comparing else [self.pane_a]

    @property
    def pane(self) -> ChatPane:
        """The pane that receives keys."""
        return self.pane_b if self.comparing and self.active == "b" else self.pane_a

    def _look(self, panes: Sequence[ChatPane]) -> None:
        """Read runs and devices in a thread, then load these panes."""
        self._looks = number = self._looks + 1
        self._to_load += [pane for pane in panes if pane not in self._to_load]

        def work() -> None:
            try:
                found: Scene | NanosoloError = look()
            except NanosoloError as error:
                found = error
            self.post_message(self.Looked(found, number))

        read_in_background(self, work)

    def on_chat_screen_looked(self, message: Looked) -> None:
        """Load the models of the panes."""
        if self._away or message.number != self._looks:
            return  # showing the screen again starts a new read
        panes, self._to_load = self._to_load, []
        if isinstance(message.scene, NanosoloError):
            self.console.tell_error(message.scene)
            return
        self.scene = message.scene
        self.set_class(not self.scene.models, "-nothing")
        if not self.scene.models:
            text = NO_CHECKPOINTS if self.scene.runs else NO_RUNS.format(folder=runs_home())
            self.query_one("#none", Lines).show(lambda width, height: [Content(line) for line in text.splitlines()])
            self.set_focus(None)
            for pane in self.panes:
                pane.shut()
            return
        wanted = self.console.chat_run
        others = wanted is not None and (self._wanted is None or wanted.path != self._wanted.path)
        for pane in panes:
            if pane not in self.panes:
                continue
            asked = wanted if others and pane is self.pane_a else None  # chosen on another screen in the meantime
            self._load(pane, *self.scene.begin_with(asked, pane.model))
        self._wanted = wanted
        if self.focused is None:
            self.query_one(Composer).focus()

    def _load(self, pane: ChatPane, model: ChatModel, *notes: str) -> None:
        now = self.scene.now(model)
        if now is None:
            pane.model = model
            pane.fail(f"{model.label} no longer exists. Press m to choose another checkpoint.")
        else:
            pane.open(now, self.device or self.scene.device, (*notes, *device_notes(self.scene, self.device)))
        self._mark()

    # messages

    @on(Composer.Sent)
    def _sent(self, event: Composer.Sent) -> None:
        composer = self.query_one(Composer)
        if event.text.startswith("/"):
            try:
                self._carry_out(event.text)
            except NanosoloError as error:
                self.console.tell_error(error)
                return
            composer.accepted()
            return
        able = [pane for pane in self.panes if pane.client is not None]
        if self.writing:
            self.console.tell("The model is still answering. Press ^x to stop it.", "warning")
        elif not able:
            self.console.tell(
                "No model is loaded. Press Esc, then r to load it again or m to choose another.", "warning"
            )
        else:
            composer.accepted()
            for pane in able:
                pane.ask(event.text, self.settings, self.system)

    @on(Composer.StopWanted)
    def action_stop(self) -> None:
        for pane in self.panes:
            pane.stop()

    @on(Composer.ScrollWanted)
    def _scroll(self, event: Composer.ScrollWanted) -> None:
        self.pane.transcript.action_page(event.pages)

    @on(Composer.Left)
    def _leave_composer(self) -> None:
        self.pane.transcript.focus()

    def on_descendant_focus(self) -> None:
        """Keys go to the pane that was focused last."""
        if isinstance(self.focused, Transcript) and isinstance(self.focused.parent, ChatPane):
            self.active = self.focused.parent.letter.lower()
            self._mark()

    def on_chat_pane_changed(self) -> None:
        """A model was loaded or lost, or an answer ended."""
        self.query_one(Composer).busy = self.writing
        self.show_all()
        self.refresh_bindings()

    @property
    def writing(self) -> bool:
        """Whether an answer is streaming, or a message waits for its model."""
        return any(pane.turn is not None for pane in self.panes)

    # display

    def _mark(self) -> None:
        for pane in self.panes:
            pane.mark(self.comparing, pane is self.pane)
        self.show_all()

    def show_all(self) -> None:
        self.query_one("#chips", Lines).show(lambda width, height: [chips(self.settings, self.system, width)])
        self.query_one("#compared", Lines).show(lambda width, height: [self._compared()])
        names = dict.fromkeys(terminal_text(pane.model.run.name) for pane in self.panes if pane.model is not None)
        self.show_about(" and ".join(names))

    def _compared(self) -> Content:
        return Content.styled(compared(self.pane_a.conversation.last, self.pane_b.conversation.last), "$secondary")

    # keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action applies now."""
        if not self.is_mounted:
            return True
        if action == "stop":
            return self.writing
        if action in ("write", "choose", "beside", "device", "new", "copy", "settings"):
            return bool(self.scene.models)
        return True

    def action_write(self) -> None:
        self.query_one(Composer).focus()

    def action_new(self) -> None:
        for pane in self.panes:
            pane.forget()

    def action_reload(self) -> None:
        """Reload the panes that failed, or all if none did, as there may be newer checkpoints."""
        self._look([pane for pane in self.panes if pane.fault] or self.panes)

    def _carry_out(self, line: str) -> None:
        """Run a /command. Raises NanosoloError."""
        name, value = read_command(line)
        if name == "help":
            self.app.push_screen(ReadingScreen("Chat commands", command_rows))
        elif name == "new":
            self.action_new()
        elif name == "system":
            self.system = value
            self.action_new()
        elif name == "save":
            path = file_to_save(value)
            said = [pane.conversation.said(self.system) for pane in self.panes if pane.conversation.turns]
            actions.in_background(self.console, lambda: save_conversations(path, said), f"Saved to {path}.")
        elif name == "quit":
            self.call_later(self.console.action_back)
        elif name in NUMBERS and not value:
            self.console.tell(f"{name} is {value_of(self.settings, name)}.")
        elif name in NUMBERS:
            self.settings = change(self.settings, name, value)
            self.show_all()

    def action_device(self) -> None:
        if not self.scene.gpu:
            self.console.tell("No GPU found. Models run on the CPU.")
            return
        self.device = "cuda" if (self.device or self.scene.device) == "cpu" else "cpu"
        self._look(self.panes)

    def action_choose(self) -> None:
        """Choose another checkpoint for the active pane."""
        pane = self.pane

        def chosen(model: ChatModel | None) -> None:
            if model is not None and model != pane.model:
                self._load(pane, model)

        title = f"Choose a checkpoint for {pane.letter}" if self.comparing else "Choose a checkpoint"
        self.app.push_screen(ModelDialog(title, self.scene.models, pane.model), chosen)

    def action_beside(self) -> None:
        """Open or close the second pane."""
        if self.comparing:
            self.comparing, self.active = False, "a"
            self.remove_class("-comparing")
            self.pane_b.shut()
            self.pane_b.forget()
            if isinstance(self.focused, Transcript):
                self.pane_a.transcript.focus()
            self._mark()
            return

        def chosen(model: ChatModel | None) -> None:
            if model is None:
                return
            self.comparing = True
            self.add_class("-comparing")
            self._load(self.pane_b, model)

        others = [model for model in self.scene.models if model != self.pane_a.model]
        current = others[0] if others else self.pane_a.model
        self.app.push_screen(ModelDialog("Choose a checkpoint to compare", self.scene.models, current), chosen)

    def action_settings(self) -> None:
        def kept(answer: tuple[Settings, str] | None) -> None:
            if answer is not None:
                self.settings, self.system = answer
                self.show_all()

        self.app.push_screen(SettingsDialog(self.settings, self.system), kept)

    def action_copy(self) -> None:
        actions.copy_text(self.console, self.pane.conversation.as_text(), "copied.txt")
