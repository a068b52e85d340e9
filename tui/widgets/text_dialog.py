"""A dialog for text that may be longer than the screen."""

from textual.app import ComposeResult
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.keys.bindings import bindings_for
from tui.widgets.lines import Build, printable
from tui.widgets.text_box import TextBox


class ReadingScreen(ModalScreen[None]):
    """Rows from a function of the width, in a scrolling frame."""

    BINDINGS = bindings_for("dialog")
    KEYS_OF = "text"
    CSS = """
    ReadingScreen > .dialog { width: 100; max-width: 96%; height: auto; max-height: 90%; }
    ReadingScreen Static { width: 100%; }
    """

    def __init__(self, title: str, build: Build) -> None:
        super().__init__()
        self.title_text, self.build = title, build

    def compose(self) -> ComposeResult:
        with TextBox(classes="dialog") as dialog:
            dialog.border_title = self.title_text
            dialog.border_subtitle = "j k g G scroll · Esc closes · ? help"
            yield Static()

    def on_resize(self) -> None:
        dialog = self.query_one(TextBox)
        width = max(20, min(100, self.size.width * 96 // 100) - 8)
        rows = self.build(width, self.size.height)
        self.query_one(Static).update(Content("\n").join([printable(row) for row in rows]))
        dialog.focus()
