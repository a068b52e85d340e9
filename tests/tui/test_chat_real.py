"""The Chat screen with a trained model: load, stream, stop, compare, crash and reload."""

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from textual.pilot import Pilot

from engine.inference.chat_settings import Settings
from engine.inference.sampling_params import Sampling
from engine.run.directory import RunDirectory
from tests.helpers.console_home import use_home
from tests.helpers.run_screens import console_on, shows, until
from tests.helpers.snapshot import text_of
from tests.helpers.trained_run import STEPS
from tui.chat.composer import Composer
from tui.chat.pane import ChatPane
from tui.screens.chat.chat_screen import ChatScreen

GREEDY = Settings(sampling=Sampling(temperature=0), max_new_tokens=20)


@pytest.fixture
def run(trained: RunDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunDirectory:
    """The only one of its home."""
    use_home(monkeypatch, tmp_path / "home")
    return RunDirectory(shutil.copytree(trained.path, tmp_path / "home" / "runs" / trained.name))


async def loaded(pilot: Pilot[None], *panes: str) -> list[ChatPane]:
    """The panes, once their models are there. Loading takes seconds."""
    for _ in range(5):
        try:
            screen = pilot.app.screen
            await until(pilot, lambda: all(screen.query_one(f"#{name}", ChatPane).loaded for name in panes))  # noqa: B023
            return [screen.query_one(f"#{name}", ChatPane) for name in panes]
        except AssertionError:
            assert "loading" in text_of(pilot.app), text_of(pilot.app)
    raise AssertionError(text_of(pilot.app))


async def say(pilot: Pilot[None], text: str) -> None:
    pilot.app.screen.query_one(Composer).insert(text)
    await pilot.press("enter")


async def test_load_stream_stop_compare_kill(run: RunDirectory) -> None:
    app = console_on(None)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("7")
        await shows(pilot, "tiny sft", "loading")
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        screen.settings = GREEDY
        await say(pilot, "hello")  # it waits for the model
        (left,) = await loaded(pilot, "pane-a")
        await until(pilot, lambda: not screen.writing)
        await shows(
            pilot, f"tiny sft · step {STEPS}", "20 tokens", " tokens/s · first token ", "reached the token limit"
        )
        first = left.conversation.turns[0]
        assert first.figures is not None and first.figures.new_tokens == 20 and first.answer

        screen.settings = Settings(sampling=Sampling(temperature=1.0))
        assert left.client is not None and left.client.pid is not None
        for number in range(20):  # until an answer is still being written when it is looked at
            screen.action_new()
            os.kill(left.client.pid, signal.SIGSTOP)  # a model of this size is faster than any hand
            await say(pilot, f"go on {number}")
            await pilot.press("ctrl+x")
            os.kill(left.client.pid, signal.SIGCONT)
            await until(pilot, lambda: not screen.writing)
            if left.conversation.turns[-1].state == "stopped":
                break
        turn = left.conversation.turns[-1]
        assert turn.state == "stopped" and turn.figures is not None and turn.figures.end == "cancelled"

        await pilot.press("escape", "n", "v")
        await shows(pilot, "Choose a checkpoint to compare")
        await pilot.press("enter")
        await loaded(pilot, "pane-a", "pane-b")
        await shows(pilot, f"B tiny pretrain · step {STEPS}", "This base model")
        screen.settings = GREEDY
        await pilot.press("i")
        await say(pilot, "hello")
        await until(pilot, lambda: not screen.writing)
        again, second = (pane.conversation.turns[0] for pane in screen.panes)
        assert again.answer == first.answer  # the same settings and messages, the same answer
        assert second.figures is not None and " and 20 tokens" in text_of(app)

        pids = [pane.client.pid for pane in screen.panes if pane.client is not None]
        screen.settings = Settings(sampling=Sampling(temperature=1.0))
        await say(pilot, "long")
        os.kill(pids[0] or 0, signal.SIGKILL)
        await shows(pilot, "not loaded", "was killed")
        await until(pilot, lambda: not screen.writing)
        assert screen.pane_b.loaded is not None  # the other one is untouched
        await pilot.press("escape", "r")
        await loaded(pilot, "pane-a", "pane-b")
        await pilot.press("i")
        await say(pilot, "once more")
        await until(pilot, lambda: not screen.writing)
        assert screen.pane_a.conversation.turns[-1].state == "done"
        pids = [pane.client.pid for pane in screen.panes if pane.client is not None]
        assert len(pids) == 2
    assert not any(psutil.pid_exists(pid or 0) for pid in pids)
