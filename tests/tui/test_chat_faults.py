"""The Chat screen on errors: no checkpoint, models that crash, reject a message or do not fit into memory."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.chat_screen import chat_runs, exists, flat, open_chat, pose, processes, say
from tests.helpers.run_screens import console_on, put, shows, stopped, until
from tests.helpers.snapshot import matches_snapshot
from tui.chat.composer import Composer
from tui.chat.model_picker import Scene
from tui.screens.chat.chat_screen import ChatScreen

BOTH = [(80, 24), (120, 40)]


def size_id(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return pose(monkeypatch, tmp_path / "home")


@pytest.mark.parametrize("size", BOTH, ids=size_id)
@pytest.mark.parametrize("runs", [0, 1])
async def test_no_model_to_chat_with_yet(home: Path, size: tuple[int, int], runs: int) -> None:
    if runs:
        put(home, ("bare", stopped("bare", 20)))
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("7")
        await shows(pilot, "No run has a checkpoint yet." if runs else "no model to chat with")
        await matches_snapshot(pilot, f"chat-{'early' if runs else 'no-runs'}-{size_id(size)}", without="Runs are in")
        await pilot.press("m", "v", "i", "n", "y", "d", "x", "s")
        await pilot.pause()
        assert isinstance(app.screen, ChatScreen)
        chat_runs(home, "red")
        await pilot.press("r")
        await shows(pilot, "red sft · step 72 · 5.24M")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("damaged", "model.safetensors has 3 bytes, not 10. Press r to load it again."),
        ("killed", "was killed, often because the machine ran out of memory. Press r to load it again."),
    ],
)
async def test_a_model_that_cannot_be_loaded(home: Path, monkeypatch: pytest.MonkeyPatch, how: str, said: str) -> None:
    chat_runs(home, "red")
    monkeypatch.setenv("FAKE_WORKER", how)
    app = console_on(None)
    async with app.run_test(size=(200, 40), notifications=True) as pilot:
        await pilot.press("7")
        await shows(pilot, "red sft · step 72 · not loaded")
        assert said.replace(" ", "") in flat(pilot).replace(" ", "")  # where lines break depends on the folder's name
        await say(pilot, "two")
        await shows(pilot, "No model is loaded.")
        assert app.screen.query_one(Composer).text == "two"
        monkeypatch.delenv("FAKE_WORKER")
        await pilot.press("escape", "r")
        await shows(pilot, "5.24M · CPU")
        await pilot.press("i", "enter")
        await shows(pilot, "You said: two")


async def test_leaving_while_it_loads(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat_runs(home, "red")
    monkeypatch.setenv("FAKE_WORKER", "slow")
    app = console_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await shows(pilot, "loading")
        await say(pilot, "one")
        await shows(pilot, "› one")
        await until(pilot, lambda: bool(processes(pilot)))
        (pid,) = processes(pilot)
        await pilot.press("escape", "x")  # a message that waits can be taken back
        await shows(pilot, "stopped")
        await pilot.press("i")
        await say(pilot, "two")
        os.kill(pid, signal.SIGKILL)
        await shows(pilot, "✖ no answer", "was killed")
        await pilot.press("escape", "r")
        await shows(pilot, "loading")
        await until(pilot, lambda: bool(processes(pilot)))
        (pid,) = processes(pilot)
        await pilot.press("q")
    assert not exists(pid)


async def test_kill_9_in_the_middle_of_an_answer(home: Path) -> None:
    chat_runs(home, "red")
    async with open_chat(size=(80, 24)) as (_, pilot):
        await say(pilot, "forever")
        await shows(pilot, "word3 ")
        os.kill(processes(pilot)[0], signal.SIGKILL)
        await shows(pilot, "not loaded", "interrupted", "was killed", "word3 ")
        await pilot.press("escape", "r")
        await shows(pilot, "5.24M · CPU", "word3 ")
        await pilot.press("i")
        await say(pilot, "two")
        await shows(pilot, "You said: two")


async def test_refusals_are_told_under_the_message(home: Path) -> None:
    chat_runs(home, "red")
    async with open_chat(size=(120, 40)) as (_, pilot):
        await say(pilot, "refuse")
        await shows(pilot, "✖ The prompt takes 900 tokens")
        await say(pilot, "empty")
        await shows(pilot, "0 tokens")
        await say(pilot, "forgetful")
        await shows(pilot, "2 earlier messages left out (context full)")


async def test_a_gpu_whose_memory_is_full(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat_runs(home, "red")
    monkeypatch.setenv("FAKE_WORKER", "no memory")
    monkeypatch.setattr("tui.chat.model_picker.detect_gpu", lambda: object())
    app = console_on(None)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("7")
        await shows(pilot, "Not enough free GPU memory for the model. Press d to load it on the CPU.")
        await pilot.press("escape", "d")
        await shows(pilot, "red sft · step 72 · 5.24M · CPU")
        await pilot.press("i")
        await say(pilot, "full")
        await shows(pilot, "Not enough free memory on this machine")


async def test_a_gpu_that_trains_is_left_alone_unless_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.chat import model_picker

    chat_runs(home, "red")
    look = model_picker.look
    training: dict[str, Any] = {"gpu": True, "training": ("red",)}
    monkeypatch.setattr("tui.screens.chat.chat_screen.look", lambda: Scene(**{**look()._asdict(), **training}))
    app = console_on(None)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("7")
        await shows(pilot, "5.24M · CPU", "red is training on the GPU, so this model runs on the CPU.")
        await pilot.press("escape", "d")
        await shows(pilot, "5.24M · GPU", "red is training on this GPU and shares its memory with this model.")
        await pilot.press("d")
        await shows(pilot, "5.24M · CPU", "so this model runs on the CPU")


async def test_device_without_a_gpu(home: Path) -> None:
    chat_runs(home, "red")
    app = console_on(None)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("7")
        await shows(pilot, "5.24M · CPU")
        await pilot.press("escape", "d")
        await shows(pilot, "No GPU found.")


async def test_a_run_that_is_removed(home: Path) -> None:
    red, _ = chat_runs(home, "red", "blue")
    app = console_on(red)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await shows(pilot, "red sft · step 72 · 5.24M")
        shutil.rmtree(red.path)
        await say(pilot, "one")
        await shows(pilot, "You said: one")  # its model is in memory
        await pilot.press("escape", "r")
        await shows(pilot, "red, sft step 72 no longer exists. Press m to choose another checkpoint.")
        await pilot.press("m")
        await shows(pilot, "Choose a checkpoint", "blue")
        await pilot.press("enter")
        await shows(pilot, "blue sft · step 72 · 5.24M", "You said: one")
