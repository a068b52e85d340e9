"""A dialog to tick several of a list; beneath stands what the ticks come to, or why they cannot be taken."""

from collections.abc import Callable, Collection, Sequence
from typing import ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from tui.keys.bindings import bindings_for
from tui.widgets.rows import Row, RowList, clip


class Tick(NamedTuple):
    """One line: its key, and a note on it."""

    key: str
    note: str


class Judged(NamedTuple):
    """What ticks come to, in lines, or what is wrong with them."""

    lines: tuple[str, ...] = ()
    fault: str = ""


class TickList(RowList):
    """The lines with their ticks."""

    def __init__(self, lines: Sequence[Tick], ticked: Collection[str]) -> None:
        super().__init__()
        self.lines = lines
        self.ticked = set(ticked)

    def build(self, width: int) -> Sequence[Row]:
        return [Row(line.key, self._describe(line, width)) for line in self.lines]

    def _describe(self, line: Tick, width: int) -> Content:
        there = line.key in self.ticked
        mark = Content.styled("[x] ", "bold $accent") if there else Content.styled("[ ] ", "$quiet")
        name = Content.styled(f"{line.key:<14}", "bold" if there else "")
        return mark + name + Content.styled(clip(line.note, width - 18), "$quiet")


class TickDialog(ModalScreen[tuple[str, ...] | None]):
    """Tick any number; the answer is what is ticked, in the order of the list."""

    BINDINGS: ClassVar = [*bindings_for("dialog"), *bindings_for("ticks")]
    KEYS_OF = "ticks"
    DEFAULT_CSS = """
    TickDialog > .dialog { padding: 0 2; }
    TickDialog {
        TickList { height: auto; max-height: 14; }
        #judged { height: auto; max-height: 7; margin-top: 1; }
    }
    """

    def __init__(
        self,
        title: str,
        enter: str,
        lines: Sequence[Tick],
        ticked: Collection[str],
        judge: Callable[[tuple[str, ...]], Judged],
    ) -> None:
        """`enter`: what the key does, in a word or two."""
        super().__init__()
        self.title_text, self.enter, self.lines, self.first, self.judge = title, enter, lines, ticked, judge

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self.title_text
            dialog.border_subtitle = f"Space ticks · Enter {self.enter} · Esc leaves · ? help"
            yield TickList(self.lines, self.first)
            yield Static("", id="judged", markup=False)

    def on_mount(self) -> None:
        self.query_one(TickList).rebuild()
        self._judge()

    @property
    def ticked(self) -> tuple[str, ...]:
        """What is ticked, in the order of the list."""
        return tuple(line.key for line in self.lines if line.key in self.query_one(TickList).ticked)

    def action_tick(self) -> None:
        ticks = self.query_one(TickList)
        if ticks.chosen is not None:
            ticks.ticked ^= {ticks.chosen}
            ticks.rebuild()
            self._judge()

    @on(OptionList.OptionSelected)
    def action_take(self) -> None:
        if not self._judge().fault:
            self.dismiss(self.ticked)

    def _judge(self) -> Judged:
        found = self.judge(self.ticked)
        lines = [Content.styled(found.fault, "$error")] if found.fault else [Content(line) for line in found.lines]
        self.query_one("#judged", Static).update(Content("\n").join(lines))
        return found
