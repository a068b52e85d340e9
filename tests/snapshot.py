"""Compare the console's text with files in the folder snapshots; UPDATE_SNAPSHOTS=1 rewrites them."""

import os
from pathlib import Path
from typing import Any

from textual.app import App

FOLDER = Path(__file__).parent / "tui" / "snapshots"


def text_of(app: App[Any]) -> str:
    """The screen as lines of text, as a terminal would show it, without colours."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join(line.text.rstrip() for line in lines[:height]) + "\n" if width else ""


def assert_snapshot(app: App[Any], name: str, *hide: str, without: str = "") -> None:
    """Raises AssertionError with both texts where the screen differs from the file.

    `hide`: texts that vary. `without`: lines that hold this text are left out.
    """
    shown = text_of(app)
    if without:
        shown = "".join(line for line in shown.splitlines(keepends=True) if without not in line)
    for text in hide:
        shown = shown.replace(text, "~" * len(text))
    path = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert path.exists(), f"no snapshot {path.name}; look at the screen, then run with UPDATE_SNAPSHOTS=1"
    assert shown == path.read_text(encoding="utf-8")
