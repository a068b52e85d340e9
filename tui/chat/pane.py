"""A pane with one model and its conversation: loads the model, sends messages, streams the answers."""

import time
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from engine.core import formatting
from engine.core.sanitize import terminal_text
from engine.inference.chat_settings import Settings
from engine.serve import worker_protocol
from tui.chat.model_picker import ChatModel
from tui.chat.render import INDENT, hang, turn_rows
from tui.chat.transcript import Transcript
from tui.chat.turns import Conversation, Turn
from tui.chat.worker_client import WorkerClient, WorkerExited
from tui.chat.worker_errors import describe_error, describe_exit
from tui.widgets.lines import Lines
from tui.widgets.rows import clip

PAINT_SECONDS = 0.08  # between two repaints of a streaming answer, to limit traffic over SSH
MAX_LINE_CELLS = 100  # longer lines are hard to read

BASE_MODEL = "This base model continues your text. It does not answer."


class ChatPane(Vertical):
    """A heading, notes and a transcript. The screen calls `open`, `ask`, `stop` and `shut`."""

    class Changed(Message):
        """A model was loaded or lost, or an answer began or ended."""

    def __init__(self, letter: str) -> None:
        super().__init__(id=f"pane-{letter.lower()}")
        self.letter = letter
        self.model: ChatModel | None = None
        self.loaded: worker_protocol.Loaded | None = None
        self.fault = ""
        self.conversation = Conversation()
        self.client: WorkerClient | None = None
        self._clients: set[WorkerClient] = set()  # whose processes may still exist
        self._device = "cpu"
        self._notes: tuple[str, ...] = ()
        self._began = 0.0  # when loading began
        self._key = 0  # of the current answer
        self._todo: tuple[Settings, str] = (Settings(), "")
        self._painting = False
        self._lettered = False
        self._rows: dict[tuple[int, int], list[Content]] = {}  # rendered turns that have ended, by index and width

    def compose(self) -> ComposeResult:
        yield Lines(classes="head")
        yield Static(classes="notes", markup=False)
        yield Transcript()

    def on_mount(self) -> None:
        self.query_one(Lines).show(lambda width, height: [self._heading(width)])
        self.transcript.set_rows(self._said)
        self.set_interval(1.0, self._tick)

    async def on_unmount(self) -> None:
        for client in tuple(self._clients):
            await client.close()

    # the model

    @property
    def transcript(self) -> Transcript:
        """The conversation as shown."""
        return self.query_one(Transcript)

    @property
    def is_loading(self) -> bool:
        """Whether the process has started and the model is not loaded yet."""
        return self.client is not None and self.loaded is None

    @property
    def chats(self) -> bool:
        """Whether the model answers. A base model continues a text."""
        return self.model is None or self.model.checkpoint.chats

    @property
    def turn(self) -> Turn | None:
        """The turn whose answer is pending or streaming, if any."""
        last = self.conversation.last
        return last if last is not None and last.is_open else None

    def open(self, model: ChatModel, device: str, notes: Sequence[str] = ()) -> None:
        """Load a checkpoint and keep the conversation."""
        self.shut()
        self.model, self.fault, self._device = model, "", device
        self._notes = (*filter(None, notes), *(() if model.checkpoint.chats else (BASE_MODEL,)))
        self._began = time.monotonic()
        client = WorkerClient(model.run, model.checkpoint.stage, device, lambda event: self._heard(client, event))
        self.client = client
        self._clients.add(client)
        self.run_worker(self._follow(client), exit_on_error=False)
        self._changed()

    async def _follow(self, client: WorkerClient) -> None:
        await client.follow()
        self._clients.discard(client)

    def shut(self) -> None:
        """Kill the model's process. An unfinished answer stays as it is."""
        if self.client is not None:
            self.client.kill()
        self.client = self.loaded = None
        if self.turn is not None:
            self.turn.state = "stopped"
        self._changed()

    def fail(self, fault: str) -> None:
        """Show why no model can be loaded."""
        self.shut()
        self.fault = fault
        self._changed()

    # conversation

    def ask(self, text: str, settings: Settings, system: str) -> None:
        """Send a message, or queue it until the model is loaded."""
        assert self.model is not None
        self.conversation.turns.append(Turn(text, self.model.label))
        self._todo = settings, system
        self.transcript.following = True
        if self.loaded is not None:
            self._send()
        self._changed()

    def _send(self) -> None:
        if self.turn is None or self.client is None:
            return
        settings, system = self._todo
        self._key += 1
        self.turn.state = "writing"
        self.client.ask(self._key, self.conversation.to_answer(system, self.chats), settings)

    def stop(self) -> None:
        """Stop the answer and keep the part received so far."""
        if self.turn is None:
            return
        if self.turn.state == "writing" and self.client is not None:
            self.client.cancel(self._key)  # Finished follows, with its figures
        else:
            self.turn.state = "stopped"
        self._changed()

    def forget(self) -> None:
        """Begin a new conversation."""
        if self.turn is not None and self.client is not None:
            self.client.cancel(self._key)
        self._key += 1  # so that late events of the old conversation are ignored
        self.conversation = Conversation()
        self._rows.clear()
        self._changed()

    def _heard(self, client: WorkerClient, event: worker_protocol.AnyEvent | WorkerExited) -> None:
        if client is not self.client:
            return
        turn = self.turn
        match event:
            case worker_protocol.Loaded():
                self.loaded, self._device = event, event.device
                if event.warning:
                    self.notify(event.warning, severity="warning", markup=False)
                self._send()
            case worker_protocol.Delta(id=self._key, type=kind, text=text) if turn is not None:
                turn.append(kind, text)
                self._paint_soon()
                return
            case worker_protocol.Finished(id=self._key) if turn is not None:
                turn.figures = event
                turn.state = "stopped" if event.end == "cancelled" else "done"
            case worker_protocol.WorkerError(id=self._key, message=message) if turn is not None:
                turn.state, turn.fault = "failed", describe_error(message, self._device)
            case WorkerExited():
                self.client = self.loaded = None
                self.fault = describe_exit(event, self._device)
                if turn is not None:
                    turn.state, turn.fault = "failed", "interrupted" if turn.parts else "no answer"
        self._changed()

    # showing

    def mark(self, lettered: bool, active: bool) -> None:
        """Set whether to show the letter and whether this pane receives the keys."""
        self._lettered = lettered
        self.set_class(lettered and active, "-active")
        self._paint()

    def _changed(self) -> None:
        self._paint()
        self.post_message(self.Changed())

    def _paint_soon(self) -> None:
        if not self._painting:
            self._painting = True
            self.set_timer(PAINT_SECONDS, self._paint)

    def _paint(self) -> None:
        self._painting = False
        if not self.is_mounted:
            return
        width = max(8, self.size.width - len(INDENT))
        notes = Content("\n").join(
            row
            for note in self._notes
            for row in hang(Content.styled("▲ ", "$warning"), Content.styled(terminal_text(note), "$quiet"), width)
        )
        static = self.query_one(".notes", Static)
        if static.content != notes:
            static.update(notes)
        static.display = bool(self._notes)
        self.query_one(Lines).show(lambda width, height: [self._heading(width)])
        self.transcript.set_rows(self._said)

    def on_resize(self) -> None:
        self._paint()

    def _tick(self) -> None:
        """Update the seconds shown while a model loads."""
        if self.is_loading:
            self._paint()

    def _heading(self, width: int) -> Content:
        if self.model is None:
            return Content("")
        stage, step = self.model.checkpoint.stage, self.model.checkpoint.step
        said = [stage, f"step {step:,}"]
        if self.loaded is not None:
            said = [self.loaded.stage, f"step {self.loaded.step:,}", formatting.count(self.loaded.parameters)]
            said.append({"cuda": "GPU", "cpu": "CPU"}.get(self.loaded.device, self.loaded.device))
        elif self.is_loading:
            said.append(f"loading {time.monotonic() - self._began:.0f} s")
        else:
            said.append("not loaded")
        about = f" {' · '.join(said)} "
        letter = f"{self.letter} " if self._lettered else ""
        name = clip(terminal_text(self.model.run.name), max(8, width - len(about) - len(letter)))
        style = "bold $primary" if not self._lettered or self.has_class("-active") else "$quiet"
        left = Content.styled(letter + name, style) + Content.styled(about, "$quiet")
        return left + Content.styled("─" * max(0, width - left.cell_length), "$faint")

    def _said(self, width: int) -> list[Content]:
        width = min(width, MAX_LINE_CELLS)
        rows: list[Content] = []
        turns = self.conversation.turns
        for place, turn in enumerate(turns):
            kept = self._rows.get((place, width))
            if kept is None:
                kept = turn_rows(turn, width, turns[place - 1] if place else None)
                if not turn.is_open:
                    self._rows[place, width] = kept
            rows += kept
        if not turns and not self.fault:
            rows += [Content.styled(INDENT + line, "$quiet") for line in self._hint()]
        if self.fault:
            rows += hang(
                Content.styled("✖ ", "$error"), Content.styled(terminal_text(self.fault), "$error"), width - len(INDENT)
            )
        return rows

    def _hint(self) -> list[str]:
        what = (
            "Type a message and press Enter."
            if self.chats
            else "Type the start of a text and press Enter to continue it."
        )
        return ["", what, "Type /help for a list of commands."]
