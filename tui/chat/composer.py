"""The message field: Enter sends the text, the up arrow recalls earlier messages."""

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from engine.core.sanitize import terminal_text
from tui.keys.bindings import bindings_for

MAX_CHARS = 32_000  # per message: far more than any model's context here


class Composer(TextArea):
    """A text area that grows with its text. It handles all keys except its bindings in the key table."""

    KEYS_OF = "composer"
    BINDINGS = bindings_for("composer")

    class Sent(Message):
        """The user sends this text. The field keeps it until the receiver calls `accepted`."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class StopWanted(Message):
        """The user asks to stop the answer."""

    class ScrollWanted(Message):
        """The user asks to scroll the transcript by a number of pages."""

        def __init__(self, pages: int) -> None:
            super().__init__()
            self.pages = pages

    class Left(Message):
        """The user leaves the field."""

    def __init__(self) -> None:
        super().__init__(
            id="composer", soft_wrap=True, show_line_numbers=False, compact=True, highlight_cursor_line=False
        )
        self.cursor_blink = False  # blinking sends data over SSH twice a second
        self.earlier: list[str] = []
        self.busy = False  # whether an answer is being generated
        self._at: int | None = None  # index of the recalled message, if any
        self._draft = ""

    def accepted(self) -> None:
        """Store the text for recall and clear the field."""
        text = self.text.strip()
        if not self.earlier or self.earlier[-1] != text:
            self.earlier.append(text)
        self._at, self._draft = None, ""
        self.text = ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether there is a message to recall or an answer to stop."""
        if action == "stop":
            return self.busy
        return bool(self.earlier) if action == "recall" else True

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":  # the text area would insert a line break; the key table has a binding for it
            event.prevent_default()

    async def _on_paste(self, event: events.Paste) -> None:
        """Insert pasted text without control characters."""
        event.prevent_default()
        event.stop()
        text = terminal_text(event.text.replace("\r\n", "\n").replace("\r", "\n"))[: max(0, MAX_CHARS - len(self.text))]
        self._replace_via_keyboard(text, *self.selection)

    # keys

    def action_send(self) -> None:
        if self.text.strip():
            self.post_message(self.Sent(self.text.strip()))

    def action_new_line(self) -> None:
        self.insert("\n")

    def action_recall(self, by: int) -> None:
        """Recall the previous or next message, unless the cursor can still move within the text."""
        if by < 0 and not self.navigator.is_first_wrapped_line(self.cursor_location):
            self.action_cursor_up()
            return
        if by > 0 and (self._at is None or not self.navigator.is_last_wrapped_line(self.cursor_location)):
            self.action_cursor_down()
            return
        if self._at is None:
            self._at, self._draft = len(self.earlier), self.text
        self._at = max(0, self._at + by)
        if self._at < len(self.earlier):
            self.text = self.earlier[self._at]
        else:
            self._at, self.text = None, self._draft
        self.move_cursor(self.document.end)

    def action_stop(self) -> None:
        self.post_message(self.StopWanted())

    def action_scroll(self, pages: int) -> None:
        self.post_message(self.ScrollWanted(pages))

    def action_leave_field(self) -> None:
        self.post_message(self.Left())
