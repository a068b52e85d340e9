"""The field in which a message is typed: Enter sends it, the arrow up brings earlier ones back."""

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from tui.chat.render import harmless
from tui.keys.bindings import bindings_for

MOST = 32_000  # characters of one message: far more than any model here reads at a time


class Composer(TextArea):
    """Several lines that grow with the text. It takes all keys but those of its row in the table."""

    KEYS_OF = "composer"
    BINDINGS = bindings_for("composer")

    class Sent(Message):
        """The user wants this said. The field still holds it: whoever takes it calls `accepted`."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class StopWanted(Message):
        """The answer is to be broken off."""

    class ScrollWanted(Message):
        """What was said is to be looked at, so many pages on."""

        def __init__(self, pages: int) -> None:
            super().__init__()
            self.pages = pages

    class Left(Message):
        """The user is done typing."""

    def __init__(self) -> None:
        super().__init__(
            id="composer", soft_wrap=True, show_line_numbers=False, compact=True, highlight_cursor_line=False
        )
        self.cursor_blink = False  # it would cost the link something twice a second
        self.earlier: list[str] = []
        self.busy = False  # whether an answer is being written
        self._at: int | None = None  # of the earlier message that is shown
        self._draft = ""

    def accepted(self) -> None:
        """The text was taken: keep it to be brought back, and empty the field."""
        text = self.text.strip()
        if not self.earlier or self.earlier[-1] != text:
            self.earlier.append(text)
        self._at, self._draft = None, ""
        self.text = ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What there is to bring back, or to break off."""
        if action == "stop":
            return self.busy
        return bool(self.earlier) if action == "recall" else True

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":  # it would break the line; the table's row for it is meant
            event.prevent_default()

    async def _on_paste(self, event: events.Paste) -> None:
        """Text from elsewhere may hold anything."""
        event.prevent_default()
        event.stop()
        text = harmless(event.text.replace("\r\n", "\n").replace("\r", "\n"))[: max(0, MOST - len(self.text))]
        self._replace_via_keyboard(text, *self.selection)

    # keys

    def action_send(self) -> None:
        if self.text.strip():
            self.post_message(self.Sent(self.text.strip()))

    def action_new_line(self) -> None:
        self.insert("\n")

    def action_recall(self, by: int) -> None:
        """The message before or after; where the cursor can still move in the text, it moves."""
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
