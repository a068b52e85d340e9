"""The parts that all screens share: a top row with tabs, and a footer made from the binding table."""

from collections.abc import Iterable
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult, RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

from tui.console import Console, console_of
from tui.keys.bindings import EVERYWHERE, KEYS, keys_for
from tui.keys.names import shown_keys
from tui.widgets.rows import clip_middle

WIDE = 90  # cells; from this width the top row has room for the name
SHORTEST_ABOUT = 8  # cells; a shorter text would not be readable
TABS = tuple(key for key in KEYS if key.id.startswith("go."))


class TopRow(Widget):
    """The name, the screens with their keys, and at the right the subject of this screen."""

    DEFAULT_CSS = """
    TopRow {
        dock: top; height: 1; background: $panel; color: $quiet; padding: 0 1;
        link-style: none; link-color: $quiet; link-style-hover: bold; link-background-hover: $surface;
    }
    """
    about: reactive[str] = reactive("")

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def render(self) -> RenderResult:
        """One line; the subject is shortened in the middle if the terminal is narrow."""
        keymap = self.app._keymap
        wide = self.content_size.width >= WIDE  # else the tabs and the subject need all cells
        pad = " " if wide else ""
        tabs = []
        for key in TABS:
            mode = key.id.removeprefix("go.")
            number = shown_keys(key, keymap, 1)[0]
            style = "bold $foreground on $background" if mode == self.mode else "$quiet"
            label = Content.styled(f"{pad}{number} {key.label}{pad}", style)
            tabs.append(label if mode == self.mode else label.stylize(f"@click=app.go('{mode}')"))
        name = Content.styled("nanosolo", "bold $primary") + Content("  ")
        line = name + Content("").join(tabs) if wide else Content(" ").join(tabs)
        room = self.content_size.width - line.cell_length - 2
        about = clip_middle(self.about, room) if room >= SHORTEST_ABOUT else ""
        return line + Content(" " * (2 + room - cell_len(about))) + Content.styled(about, "$quiet")


class KeyRow(Widget):
    """The footer: the keys of this screen that fit, then the keys that work everywhere."""

    DEFAULT_CSS = """
    KeyRow { dock: bottom; height: 1; background: $panel; color: $quiet; padding: 0 1; }
    """

    def __init__(self, screen_keys: str) -> None:
        super().__init__()
        self.screen_keys = screen_keys

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def render(self) -> RenderResult:
        """`key label` pairs; keys that do not fit are shown in the help only."""
        active = {b.binding.id: b.enabled for b in self.screen.active_bindings.values() if b.binding.id}
        focused = self.screen.focused  # an editor has its own keys, and consumes all others
        editor = getattr(focused, "KEYS_OF", "") if focused and focused.check_consume_key("a", "a") else ""
        fixed = [] if editor else self._pairs(EVERYWHERE, active)
        room = self.content_size.width - sum(item.cell_length + 2 for item in fixed)
        own: list[Content] = []
        for item in self._pairs(editor or self.screen_keys, active):
            if item.cell_length + 2 > room:
                break
            own.append(item)
            room -= item.cell_length + 2
        gap = Content(" " * max(0, room))
        return Content("  ").join(own) + gap + Content("  ").join([Content(""), *fixed])

    def _pairs(self, name: str, active: dict[str, bool]) -> list[Content]:
        keymap = self.app._keymap
        return [
            Content.styled(shown_keys(key, keymap, 1)[0], "bold $foreground") + Content(f" {key.label.lower()}")
            for key in keys_for(name)
            if key.footer and active.get(key.id, False)
        ]


class ConsoleScreen(Screen[None]):
    """Base of the screens. Subclasses set MODE and KEYS_OF, BINDINGS = bindings_for(KEYS_OF), and `compose_body`."""

    MODE: ClassVar[str] = ""  # the tab that is highlighted
    KEYS_OF: ClassVar[str] = ""  # the rows of the binding table for this screen

    @property
    def console(self) -> Console:
        """The application, typed as Console."""
        return console_of(self)

    def compose(self) -> ComposeResult:
        yield TopRow(self.MODE)
        yield from self.compose_body()
        yield KeyRow(self.KEYS_OF)

    def compose_body(self) -> Iterable[Widget]:
        """The widgets between the top row and the footer."""
        raise NotImplementedError

    def show_about(self, text: str) -> None:
        """Show the subject of the screen at the right end of the top row."""
        self.query_one(TopRow).about = text
