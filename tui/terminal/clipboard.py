"""Copy text to the clipboard of the terminal, also through tmux, and to a file."""

import base64
import os
import sys
from typing import Any

from textual.app import App

from engine.core.atomic_io import write_atomically
from engine.core.errors import NanosoloError
from engine.core.paths import home, require_writable


def copy(app: App[Any], text: str, file_name: str) -> str:
    """Copy the text, and say where it went. A home that cannot be written does not prevent copying to the clipboard."""
    app.copy_to_clipboard(text)
    if "TMUX" in os.environ and app._driver is not None and sys.__stdout__ is not None and sys.__stdout__.isatty():
        app._driver.write(tmux_wrapped(text))
    path = home() / file_name
    try:
        require_writable(home())
        write_atomically(path, (text + "\n").encode())
    except NanosoloError as error:
        return f"Copied to the clipboard (if the terminal supports it), but not to a file: {error}"
    return f"Copied to the clipboard (if the terminal supports it) and to {path}."


def tmux_wrapped(text: str) -> str:
    """The OSC 52 sequence that sets the clipboard, wrapped so that tmux passes it to the outer terminal."""
    encoded = base64.b64encode(text.encode()).decode()
    return f"\x1bPtmux;\x1b\x1b]52;c;{encoded}\a\x1b\\"
