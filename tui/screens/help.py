"""The help screen: the keys of the current screen, made from the binding table."""

from textual.app import ComposeResult
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.console_settings import config_file
from tui.keys.bindings import EVERYWHERE, PARTS, bindings_for, keys_for
from tui.keys.names import shown_keys
from tui.widgets.text_box import TextBox


class HelpScreen(ModalScreen[None]):
    """The keys of one screen, then the keys that work everywhere (in a dialog, only those that work there)."""

    BINDINGS = bindings_for("dialog")
    KEYS_OF = "dialog"
    CSS = """
    HelpScreen > .dialog { width: 84; }
    HelpScreen Static { width: 100%; }
    """

    def __init__(self, screen_keys: str, in_dialog: bool = False) -> None:
        super().__init__()
        self.screen_keys, self.in_dialog = screen_keys, in_dialog

    def compose(self) -> ComposeResult:
        with TextBox(classes="dialog") as dialog:
            dialog.border_title = f"Keys · {self.screen_keys}"
            dialog.border_subtitle = "j k g G scroll · Esc closes"
            yield Static(self._table())

    def _table(self) -> Content:
        keymap = self.app._keymap
        lines: list[Content] = []
        for title, name in (
            ("This screen", self.screen_keys),
            *PARTS.get(self.screen_keys, ()),
            ("Everywhere", EVERYWHERE),
        ):
            rows = [key for key in keys_for(name) if name != EVERYWHERE or key.priority or not self.in_dialog]
            if not rows or (name == EVERYWHERE and self.screen_keys == EVERYWHERE and lines):
                continue
            lines.append(Content.styled(title, "bold $primary"))
            for key in rows:
                shown = " ".join(shown_keys(key, keymap))
                lines.append(Content.styled(f"  {shown:<10}", "bold") + Content(f" {key.help}"))
            lines.append(Content(""))
        lines.append(Content.styled(f"To change a key, set its id under [keys] in {config_file()}.", "$quiet"))
        return Content("\n").join(lines)
