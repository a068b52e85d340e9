"""The Chat screen with a fake model process: every key, hostile text, two models side by side."""

import shutil
import threading
from pathlib import Path

import pytest

from tests.helpers.chat_screen import chat_runs, done, exists, flat, open_chat, pose, processes, say, screen_of
from tests.helpers.run_screens import console_on, shows, until
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.chat.composer import Composer
from tui.chat.model_picker import Scene, look
from tui.screens.chat.chat_dialogs import ModelDialog
from tui.screens.runs import RunsScreen

BOTH = [(80, 24), (120, 40)]


def size_id(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return pose(monkeypatch, tmp_path / "home")


@pytest.mark.parametrize("size", BOTH, ids=size_id)
async def test_a_conversation(home: Path, size: tuple[int, int]) -> None:
    chat_runs(home, "red")
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("7")
        await shows(pilot, "red sft · step 72 · 5.24M · CPU", "Type a message and press Enter.")
        await pilot.press(*"Hi 1?".replace(" ", ""), "space", "q", "enter")  # letters and digits are text here
        await shows(pilot, "› Hi1? q", "You said: Hi1? q", "52.0 tokens/s · first token 85 ms")
        await say(pilot, "sum")
        await shows(pilot, "12 * 7 is [12 * 7 = 84] 84.")
        await done(pilot)
        await matches_snapshot(pilot, f"chat-{size_id(size)}")


@pytest.mark.parametrize("size", BOTH, ids=size_id)
async def test_two_side_by_side(home: Path, size: tuple[int, int]) -> None:
    chat_runs(home, "red", "blue")
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("7")
        await shows(pilot, "blue sft · step 72 · 5.24M")
        await pilot.press("escape", "v")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        await shows(pilot, "Choose a checkpoint to compare", "red", "continues text")
        await matches_snapshot(pilot, f"chat-choose-{size_id(size)}")
        await pilot.press("G", "enter")  # the last: red's base model
        await shows(pilot, "A blue sft", "B red pretrain · step 300 · 5.24M", "This base model")
        await pilot.press("i")
        await say(pilot, "What is a list?")
        await done(pilot)
        await shows(pilot, "52.0 tokens/s", "48.0 tokens/s", "A is 1.1× as fast", "6 and 6 tokens")
        await matches_snapshot(pilot, f"chat-compare-{size_id(size)}")
        pids = processes(pilot)
        await pilot.press("escape", "tab", "m")  # keys are for the pane that is looked at
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        await pilot.press("escape")
        await pilot.press("v")
        await until(pilot, lambda: not exists(pids[1]))
        await until(pilot, lambda: "B red" not in text_of(app))
        assert exists(pids[0]) and "red" not in app.screen.query_one("TopRow").about  # type: ignore[attr-defined]


async def test_the_same_message_goes_to_both_and_one_is_stopped_with_the_other(home: Path) -> None:
    chat_runs(home, "red")
    app = console_on(None)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("7", "escape")
        await shows(pilot, "red sft · step 72 · 5.24M")
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        await pilot.press("enter")
        await shows(pilot, "B red pretrain · step 300 · 5.24M")
        await pilot.press("enter")
        await say(pilot, "forever")
        await until(pilot, lambda: all("word9 " in str(p.conversation.last.answer) for p in screen_of(pilot).panes))  # type: ignore[union-attr]
        await pilot.press("ctrl+x")
        await done(pilot)
        assert text_of(app).count("stopped · ") == 2


async def test_stop_with_each_key_and_continue(home: Path) -> None:
    chat_runs(home, "red")
    app = console_on(None)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("7")
        await say(pilot, "forever")  # it waits for its model
        await shows(pilot, "word5 ", "^x stop")
        await say(pilot, "more")
        await shows(pilot, "The model is still answering.")
        assert app.screen.query_one(Composer).text == "more"  # the text is kept
        await pilot.press("escape", "x")
        await done(pilot)
        await shows(pilot, "stopped · ")
        await pilot.press("i", "enter")
        await shows(pilot, "You said: more")
        await pilot.press("escape", "x")  # nothing to stop
        await pilot.pause()


async def test_the_field_brings_earlier_messages_back(home: Path) -> None:
    chat_runs(home, "red")
    app = console_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        for text in ("one", "two\nlines"):
            await say(pilot, text)
            await shows(pilot, f"You said: {text.split()[0]}")
            await done(pilot)
        field = app.screen.query_one(Composer)
        await pilot.press("d", "up")
        assert field.text == "two\nlines"
        await pilot.press("up", "up")
        assert field.text == "one"
        await pilot.press("up", "down", "down", "down")
        assert field.text == "d"  # what was being typed
        await pilot.press("ctrl+j", "e")
        assert field.text == "d\ne"
        await pilot.press("enter")
        await shows(pilot, "You said: d")


async def test_leaving_the_field_and_the_screen(home: Path) -> None:
    chat_runs(home, "red")
    app = console_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await shows(pilot, "1 run,")
        await pilot.press("t")
        await shows(pilot, "red sft · step 72 · 5.24M")
        await say(pilot, "one")
        await done(pilot)
        (pid,) = processes(pilot)
        await pilot.press("escape", "question_mark")
        await shows(pilot, "While typing a message", "Compare with a second checkpoint")
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert exists(pid)  # a dialog is no leaving
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        await until(pilot, lambda: not exists(pid))
        await pilot.press("7")
        await shows(pilot, "red sft · step 72 · 5.24M", "You said: one")  # what was said is still there
        assert processes(pilot) != [pid]
        (pid,) = processes(pilot)
        await pilot.press("escape", "q")
    assert not exists(pid)


async def test_seven_begins_with_the_run_under_the_cursor(home: Path) -> None:
    chat_runs(home, "red", "blue", "bare")
    shutil.rmtree(home / "runs" / "bare" / "checkpoints")
    app = console_on(None)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await shows(pilot, "3 runs,")
        await pilot.press("G", "7")
        await shows(pilot, "red sft · step 72 · 5.24M")
        await say(pilot, "one")
        await done(pilot)
        await pilot.press("escape", "4", "g", "down", "7")
        await shows(pilot, "blue sft · step 72 · 5.24M")
        await say(pilot, "two")
        await shows(pilot, "Now using blue, sft step 72", "You said: one", "You said: two")
        await pilot.press("escape", "4", "g", "7")
        await shows(pilot, "blue sft", "bare has no checkpoint yet. Using blue.")


async def test_the_wanted_run_is_remembered_when_the_screen_is_left_before_models_are_found(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_runs(home, "red", "blue")
    go_on, looked = threading.Event(), []

    def late() -> Scene:
        go_on.wait(10)
        looked.append(look())
        return looked[-1]

    monkeypatch.setattr("tui.screens.chat.chat_screen.look", late)
    app = console_on(None)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await shows(pilot, "2 runs,")
        await pilot.press("G", "7", "escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        go_on.set()
        await until(pilot, lambda: len(looked) == 1)
        await pilot.pause(0.1)
        await pilot.press("7")
        await shows(pilot, "red sft · step 72 · 5.24M")


async def test_two_looks_at_a_time_load_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat_runs(home, "red")
    go_on, looked = threading.Event(), []

    def late() -> Scene:
        go_on.wait(10)
        looked.append(look())
        return looked[-1]

    async with open_chat(size=(120, 40)) as (app, pilot):
        monkeypatch.setattr("tui.screens.chat.chat_screen.look", late)
        opened: list[object] = []
        monkeypatch.setattr(type(app.screen), "_load", lambda _screen, pane, *_: opened.append(pane))
        await pilot.press("escape", "r", "r")
        go_on.set()
        await until(pilot, lambda: len(looked) == 2)
        await until(pilot, lambda: bool(opened))
        await pilot.pause()
    assert len(opened) == 1


async def test_another_checkpoint_of_the_same_run(home: Path) -> None:
    chat_runs(home, "red")
    async with open_chat(size=(80, 24)) as (_, pilot):
        (pid,) = processes(pilot)
        await pilot.press("escape", "m")
        await shows(pilot, "Choose a checkpoint", "pretrain")
        await pilot.press("j", "enter")
        await shows(pilot, "red pretrain · step 300 · 5.24M", "This base model", "Type the start of a text")
        await until(pilot, lambda: not exists(pid))
        await pilot.press("i")
        for text in ("one", "what do you hear"):
            await say(pilot, text)
            await done(pilot)
        assert '"messages": [{"role": "user", "content": "what do you hear"}]' in flat(pilot)
