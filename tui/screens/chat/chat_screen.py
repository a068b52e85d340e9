"""The Chat screen: talk to a checkpoint of any run, or to two side by side; models live in processes of their own."""

from collections.abc import Iterable, Sequence

from textual import on
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from engine.core.errors import NanosoloError
from engine.core.paths import runs_home
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
from tui.chat.render import compared, harmless
from tui.chat.transcript import Transcript
from tui.keys.bindings import bindings_for
from tui.screens.base import ConsoleScreen
from tui.screens.chat.chat_dialogs import ModelDialog, SettingsDialog
from tui.terminal.background import read_aside
from tui.widgets.lines import Lines
from tui.widgets.text_dialog import ReadingScreen


class ChatScreen(ConsoleScreen):
    """One pane, or two; what is typed goes to both."""

    MODE = "chat"
    KEYS_OF = "chat"
    BINDINGS = bindings_for("chat")
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = ""

    class Looked(Message):
        """All runs have been looked at. Posted from a thread."""

        def __init__(self, scene: Scene | NanosoloError, number: int) -> None:
            super().__init__()
            self.scene, self.number = scene, number

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(0, (), False, ())
        self.settings = Settings()
        self.system = ""
        self.device = ""  # the one that the user wants; none: as the scene has it
        self.comparing = False
        self.active = "a"
        self._away = True
        self._looks = 0  # how often it was looked: what an earlier one found is out of date
        self._to_load: list[ChatPane] = []  # when the look under way is over
        self._wanted: RunDirectory | None = None  # when the screen was last entered

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

    # coming and going

    def on_screen_resume(self) -> None:
        """Load the models anew: they were ended when the screen was left. A dialog that closes is no coming."""
        if self._away:
            self._away = False
            self.query_one(Composer).focus()
            self._look(self.panes)

    def on_screen_suspend(self) -> None:
        """End the models where another screen is shown; a dialog is none."""
        if self.app.current_mode != self.MODE:
            self._away = True
            for pane in self.panes:
                pane.shut()

    @property
    def pane_a(self) -> ChatPane:
        """The one that is always there."""
        return self.query_one("#pane-a", ChatPane)

    @property
    def pane_b(self) -> ChatPane:
        """The one beside it."""
        return self.query_one("#pane-b", ChatPane)

    @property
    def panes(self) -> list[ChatPane]:
        """Those that are shown."""
        return [self.pane_a, self.pane_b] if self.comparing else [self.pane_a]

    @property
    def pane(self) -> ChatPane:
        """The one that keys are for."""
        return self.pane_b if self.comparing and self.active == "b" else self.pane_a

    def _look(self, panes: Sequence[ChatPane]) -> None:
        """Look at runs and devices in a thread, then load these panes."""
        self._looks = number = self._looks + 1
        self._to_load += [pane for pane in panes if pane not in self._to_load]

        def work() -> None:
            try:
                found: Scene | NanosoloError = look()
            except NanosoloError as error:
                found = error
            self.post_message(self.Looked(found, number))

        read_aside(self, work)

    def on_chat_screen_looked(self, message: Looked) -> None:
        """Load what is to talk."""
        if self._away or message.number != self._looks:
            return  # coming back looks anew, and knows then whom the user wants
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
            asked = wanted if others and pane is self.pane_a else None  # what the user chose elsewhere meanwhile
            self._load(pane, *self.scene.begin_with(asked, pane.model))
        self._wanted = wanted
        if self.focused is None:
            self.query_one(Composer).focus()

    def _load(self, pane: ChatPane, model: ChatModel, *notes: str) -> None:
        now = self.scene.now(model)
        if now is None:
            pane.model = model
            pane.fail(f"{model.label} is gone. m chooses another checkpoint.")
        else:
            pane.open(now, self.device or self.scene.device, (*notes, *device_notes(self.scene, self.device)))
        self._mark()

    # talking

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
            self.console.tell("An answer is being written. ^x stops it.", "warning")
        elif not able:
            self.console.tell("No model is loaded. Esc, then r loads it again and m chooses another.", "warning")
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
        """Keys are for the pane that was last looked at."""
        if isinstance(self.focused, Transcript) and isinstance(self.focused.parent, ChatPane):
            self.active = self.focused.parent.letter.lower()
            self._mark()

    def on_chat_pane_changed(self) -> None:
        """A model came or went, or an answer ended."""
        self.query_one(Composer).busy = self.writing
        self.show_all()
        self.refresh_bindings()

    @property
    def writing(self) -> bool:
        """Whether an answer is being written, or a message waits for its model."""
        return any(pane.turn is not None for pane in self.panes)

    # showing

    def _mark(self) -> None:
        for pane in self.panes:
            pane.mark(self.comparing, pane is self.pane)
        self.show_all()

    def show_all(self) -> None:
        self.query_one("#chips", Lines).show(lambda width, height: [chips(self.settings, self.system, width)])
        self.query_one("#compared", Lines).show(lambda width, height: [self._compared()])
        names = dict.fromkeys(harmless(pane.model.run.name) for pane in self.panes if pane.model is not None)
        self.say_about(" and ".join(names))

    def _compared(self) -> Content:
        return Content.styled(compared(self.pane_a.conversation.last, self.pane_b.conversation.last), "$secondary")

    # keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What there is to do it with."""
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
        """Those that failed; where none did, all: there may be newer checkpoints."""
        self._look([pane for pane in self.panes if pane.fault] or self.panes)

    def _carry_out(self, line: str) -> None:
        """Run a /command. Raises NanosoloError."""
        name, value = read_command(line)
        if name == "help":
            self.app.push_screen(ReadingScreen("What can be typed", command_rows))
        elif name == "new":
            self.action_new()
        elif name == "system":
            self.system = value
            self.action_new()
        elif name == "save":
            path = file_to_save(value)
            said = [pane.conversation.said(self.system) for pane in self.panes if pane.conversation.turns]
            actions.in_background(self.console, lambda: save_conversations(path, said), f"Wrote {path}.")
        elif name == "quit":
            self.call_later(self.console.action_back)
        elif name in NUMBERS and not value:
            self.console.tell(f"{name} is {value_of(self.settings, name)}.")
        elif name in NUMBERS:
            self.settings = change(self.settings, name, value)
            self.show_all()

    def action_device(self) -> None:
        if not self.scene.gpu:
            self.console.tell("No GPU was found here: models run on the CPU.")
            return
        self.device = "cuda" if (self.device or self.scene.device) == "cpu" else "cpu"
        self._look(self.panes)

    def action_choose(self) -> None:
        """Another checkpoint for the pane that is looked at."""
        pane = self.pane

        def chosen(model: ChatModel | None) -> None:
            if model is not None and model != pane.model:
                self._load(pane, model)

        title = f"Who talks in {pane.letter}?" if self.comparing else "Who talks?"
        self.app.push_screen(ModelDialog(title, self.scene.models, pane.model), chosen)

    def action_beside(self) -> None:
        """Open the second pane, or close it."""
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
        self.app.push_screen(ModelDialog("Who talks beside?", self.scene.models, current), chosen)

    def action_settings(self) -> None:
        def kept(answer: tuple[Settings, str] | None) -> None:
            if answer is not None:
                self.settings, self.system = answer
                self.show_all()

        self.app.push_screen(SettingsDialog(self.settings, self.system), kept)

    def action_copy(self) -> None:
        actions.copy_text(self.console, self.pane.conversation.as_text(), "copied.txt")
