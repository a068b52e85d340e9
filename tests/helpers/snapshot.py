"""Compare the console's text with files in the folder snapshots; UPDATE_SNAPSHOTS=1 rewrites them."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot

PATIENCE = 10.0  # seconds
SETTLED = 0.5  # seconds, when a snapshot is taken
FOLDER = Path(__file__).parents[1] / "tui" / "snapshots"


def text_of(app: App[Any]) -> str:
    """The screen as lines of text, as a terminal shows it, without colors."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join(line.text.rstrip() for line in lines[:height]) + "\n" if width else ""


async def matches_snapshot(pilot: Pilot[Any], name: str, *hide: str, without: str = "") -> None:
    """Wait until the screen equals the file. Raises AssertionError with both texts if it never does.

    `hide`: texts that vary. `without`: lines that contain this text are left out.
    """
    path = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        await pilot.pause(SETTLED)
        FOLDER.mkdir(exist_ok=True)
        path.write_text(_shown(pilot.app, hide, without), encoding="utf-8")
    assert path.exists(), f"no snapshot {path.name}; look at the screen, then run with UPDATE_SNAPSHOTS=1"
    wanted = path.read_text(encoding="utf-8")
    deadline = time.monotonic() + PATIENCE
    while (shown := _shown(pilot.app, hide, without)) != wanted and time.monotonic() < deadline:
        await pilot.pause(0.02)
    assert shown == wanted


def _shown(app: App[Any], hide: Sequence[str], without: str) -> str:
    shown = text_of(app)
    if without:
        shown = "".join(line for line in shown.splitlines(keepends=True) if without not in line)
    for text in hide:
        shown = shown.replace(text, "~" * len(text))
    return shown
