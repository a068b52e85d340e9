"""The Chat screen: settings, commands, scrolling, pastes and hostile text."""

from pathlib import Path

import pytest

from tests.helpers.chat_screen import chat_runs, done, flat, open_chat, pose, say, screen_of
from tests.helpers.run_screens import console_on, shows, until
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.chat.composer import Composer
from tui.screens.chat.chat_dialogs import SettingsDialog
from tui.screens.chat.chat_screen import ChatScreen
from tui.widgets.text_dialog import ReadingScreen


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return pose(monkeypatch, tmp_path / "home")


async def test_settings_are_edited_and_sent(home: Path) -> None:
    chat_runs(home, "red")
    app = console_on(None)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("7")
        await shows(pilot, "red sft · step 72 · 5.24M", "temperature 0.7 · top-k 50 · seed 0")
        await pilot.press("escape", "s")
        await shows(pilot, "Chat settings", "always the most likely token")
        await pilot.press("x")
        await shows(pilot, "temperature x: expected a number, for example 0.7")
        await pilot.press("enter")
        assert isinstance(app.screen, SettingsDialog)  # it cannot be kept
        await pilot.press("backspace", "0", ".", "2", "down", *"off", "down", "down", *"99", "tab", "7")
        await pilot.press("down", *"Be", "up", "down", *"!")
        await matches_snapshot(pilot, "chat-settings-120x40")
        await pilot.press("enter")
        await shows(pilot, "temperature 0.2 · max tokens 99 · seed 7 · system: Be!")
        await pilot.press("i")
        await say(pilot, "what do you hear")
        await done(pilot)
        heard = flat(pilot)
        assert '"temperature": 0.2, "top_k": 0, "max_tokens": 99' in heard
        assert '{"role": "system", "content": "Be!"}' in heard
        await pilot.press("escape", "s", "down", "1", "escape")
        await pilot.pause()
        assert "top-k" not in text_of(app)  # left as it was


async def test_commands(home: Path, tmp_path: Path) -> None:
    chat_runs(home, "red")
    async with open_chat(size=(80, 24), notifications=True) as (app, pilot):
        await say(pilot, "one")
        await done(pilot)
        await say(pilot, f"/save {tmp_path / 'said.jsonl'}")
        await until(pilot, (tmp_path / "said.jsonl").exists)
        assert '"content":"You said: one"' in (tmp_path / "said.jsonl").read_text()
        await shows(pilot, "Saved to")
        app.clear_notifications()  # they would lie over what is waited for, for seconds
        await say(pilot, "/temperature 1.5")
        await shows(pilot, "temperature 1.5 · top-k 50")
        await say(pilot, "/top_k")
        await shows(pilot, "top_k is 50.")
        app.clear_notifications()
        await say(pilot, "/top_k many")
        await shows(pilot, "expected a number or off")
        assert app.screen.query_one(Composer).text == "/top_k many"
        app.screen.query_one(Composer).text = ""
        app.clear_notifications()
        await say(pilot, "/help")
        await until(pilot, lambda: isinstance(app.screen, ReadingScreen))
        await shows(pilot, "/max_tokens N", "start a new conversation")
        await pilot.press("escape")
        await say(pilot, "/system Be brief.")
        await shows(pilot, "Type a message", "system: Be brief.")
        await say(pilot, "/nonsense")
        await shows(pilot, "/nonsense: no such command")
        app.screen.query_one(Composer).text = ""
        await say(pilot, "/quit")
        await until(pilot, lambda: not isinstance(app.screen, ChatScreen))


async def test_new_copy_and_reload(home: Path) -> None:
    (run,) = chat_runs(home, "red")
    async with open_chat(size=(80, 24), notifications=True) as (app, pilot):
        await say(pilot, "one")
        await done(pilot)
        await pilot.press("escape", "y")
        await shows(pilot, "Copied to the clipboard")
        assert (home / "copied.txt").read_text() == "> one\n\nYou said: one\n\n"
        (run.checkpoints("sft") / "step_000144").mkdir()
        await pilot.press("r")
        await shows(pilot, "red sft · step 144 · 5.24M")
        await pilot.press("enter")
        await say(pilot, "forever")
        await shows(pilot, "word3 ")
        await pilot.press("escape", "n")
        await shows(pilot, "Type a message")
        await pilot.press("i")
        await say(pilot, "two")
        await shows(pilot, "You said: two")  # the answer before was ended, and is not heard any more
        assert "word" not in text_of(app)


async def test_scrolling(home: Path) -> None:
    chat_runs(home, "red")
    async with open_chat(size=(80, 24)) as (app, pilot):
        for number in range(9):
            await say(pilot, f"message {number}")
            await shows(pilot, f"You said: message {number}")
            await done(pilot)
        assert "You said: message 0" not in text_of(app) and "┃" in text_of(app)
        transcript = screen_of(pilot).pane_a.transcript
        await pilot.press("enter", "space", "enter", "backspace", "pageup")  # nothing is sent; the page turns
        assert not transcript.following
        await pilot.press("escape", "g")
        await shows(pilot, "› message 0")
        await pilot.press("j", "k", "down", "up")
        assert transcript.top == 0
        await pilot.press("pagedown", "pageup", "ctrl+f", "ctrl+b", "home")
        assert transcript.top == 0
        await pilot.press("G")
        await shows(pilot, "You said: message 8")
        assert transcript.following


async def test_hostile_text(home: Path) -> None:
    chat_runs(home, "red")
    async with open_chat(size=(80, 24)) as (app, pilot):
        app.screen.query_one(Composer).focus()
        await say(pilot, "hostile")
        await done(pilot)
        await shows(pilot, "[bold]loud[/bold] [/]", "日本語", "<|assistant_end|>")
        shown = text_of(app)
        assert shown.replace("\n", "").isprintable()
        assert all(len(line) <= 80 for line in shown.splitlines())
        assert "x" * 70 in shown


async def test_a_paste_of_several_lines_stays_one_message(home: Path) -> None:
    from textual import events

    chat_runs(home, "red")
    async with open_chat(size=(80, 24)) as (app, pilot):
        field = app.screen.query_one(Composer)
        field.post_message(events.Paste("one\r\ntwo\x1b[2J\rthree" + "y" * 50_000))
        await pilot.pause()
        assert field.text.startswith("one\ntwo·[2J\nthree") and len(field.text) == 32_000
