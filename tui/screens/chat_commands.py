"""What /commands do on the Chat screen; which there are, and what their values may be, engine.chat.settings says."""

from typing import TYPE_CHECKING

from engine.chat.settings import NUMBERS, change, file_to_save, read_command, save_conversations, value_of
from tui import actions
from tui.screens.reading import ReadingScreen
from tui.talk.words import command_rows

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen


def carry_out(screen: "ChatScreen", line: str) -> None:
    """Do what a line that begins with / says. Raises NanosoloError."""
    name, value = read_command(line)
    if name == "help":
        screen.app.push_screen(ReadingScreen("What can be typed", command_rows))
    elif name == "new":
        screen.action_new()
    elif name == "system":
        screen.system = value
        screen.action_new()
    elif name == "save":
        path = file_to_save(value)
        said = [pane.conversation.said(screen.system) for pane in screen.panes if pane.conversation.turns]
        actions.in_background(screen.console, lambda: save_conversations(path, said), f"Wrote {path}.")
    elif name == "quit":
        screen.call_later(screen.console.action_back)
    elif name in NUMBERS and not value:
        screen.console.tell(f"{name} is {value_of(screen.settings, name)}.")
    elif name in NUMBERS:
        screen.settings = change(screen.settings, name, value)
        screen.show_all()
