"""The Chat screen under test: runs with models, a fake process for the models, and helpers to use the screen."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.run.directory import RunDirectory
from tests.helpers.console_home import use_home
from tests.helpers.run_screens import console_on, put, shows, stopped, until
from tests.helpers.snapshot import text_of
from tui.app import NanosoloApp
from tui.chat import worker_client
from tui.chat.composer import Composer
from tui.screens.chat.chat_screen import ChatScreen

FAKE = str(Path(__file__).with_name("fake_worker.py"))


def pose(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """An empty home on a machine without a GPU, where the fake process replaces every model."""
    use_home(monkeypatch, home)
    monkeypatch.setattr(worker_client, "WORKER", (FAKE,))
    monkeypatch.setattr("tui.chat.model_picker.detect_gpu", lambda: None)
    return home


def chat_runs(home: Path, *names: str) -> list[RunDirectory]:
    """Runs with a base model and a chat model, oldest first."""
    runs = put(home, *((name, stopped(name, 20)) for name in names))
    for run in runs:
        for stage, step in (("pretrain", 300), ("sft", 72)):
            folder = run.checkpoints(stage) / f"step_{step:06d}"
            folder.mkdir(parents=True)
            os.utime(folder, (time.time() - 90_030,) * 2)
    return runs


def screen_of(pilot: Pilot[None]) -> ChatScreen:
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    return screen


async def say(pilot: Pilot[None], text: str) -> None:
    """Paste a text into the field and send it."""
    pilot.app.screen.query_one(Composer).insert(text)
    await pilot.press("enter")


async def done(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: not screen_of(pilot).writing)


def flat(pilot: Pilot[None]) -> str:
    """The screen as one line."""
    return " ".join(text_of(pilot.app).split())


def processes(pilot: Pilot[None]) -> list[int]:
    return [pane.client.pid for pane in screen_of(pilot).panes if pane.client is not None and pane.client.pid]


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def open_chat(**options: Any) -> AsyncIterator[tuple[NanosoloApp, Pilot[None]]]:
    """The console with its Chat screen open and the model of the run `red` loaded; `options` are run_test's."""
    app = console_on(None)
    async with app.run_test(**options) as pilot:
        await pilot.press("7")
        await shows(pilot, "red sft · step 72 · 5.24M")
        yield app, pilot
