"""Copy text for the user: to the terminal's clipboard, through tmux where it runs, and to a file in any case."""

import base64
import os
import sys
from typing import Any

from textual.app import App

from engine.core.atomic_io import write_atomically
from engine.core.errors import NanosoloError
from engine.core.paths import home, require_writable


def copy(app: App[Any], text: str, file_name: str) -> str:
    """Copy, and say where the text went; a home that cannot be written keeps nobody from the clipboard."""
    app.copy_to_clipboard(text)
    if "TMUX" in os.environ and app._driver is not None and sys.__stdout__ is not None and sys.__stdout__.isatty():
        app._driver.write(tmux_wrapped(text))
    path = home() / file_name
    try:
        require_writable(home())
        write_atomically(path, (text + "\n").encode())
    except NanosoloError as error:
        return f"Copied to the clipboard, as far as this terminal lets us; not to a file: {error}"
    return f"Copied to the clipboard, as far as this terminal lets us; also in {path}."


def tmux_wrapped(text: str) -> str:
    """The OSC 52 sequence that sets the clipboard, passed through tmux to the terminal outside."""
    encoded = base64.b64encode(text.encode()).decode()
    return f"\x1bPtmux;\x1b\x1b]52;c;{encoded}\a\x1b\\"
