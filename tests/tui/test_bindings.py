"""The binding table: complete, without clashes, with keys that plain terminals send, and actions that exist."""

from importlib import import_module

import pytest

from tui.app import SCREENS, NanosoloApp
from tui.chat.composer import Composer
from tui.chat.transcript import Transcript
from tui.keys.bindings import EVERYWHERE, KEYS, Key, bindings_for, keys_for
from tui.keys.names import show_key, textual_name
from tui.screens.chat.chat_dialogs import SettingField
from tui.screens.plan.budget_screen import BudgetField, BudgetScreen
from tui.screens.plan.detail import Editor
from tui.screens.plan.review import NameField, ReviewScreen
from tui.screens.run_files import RunFiles
from tui.widgets.dialogs import ChoiceDialog
from tui.widgets.rows import RowList

# keys that many terminals, tmux or ssh do not pass on, or that arrive as another key
UNSENDABLE = {"ctrl+m", "ctrl+i", "ctrl+h", "ctrl+enter", "shift+enter", "ctrl+space", "ctrl+tab"}


CHAT = ("chat", "composer", "transcript", "chat-setting")


def owners(screen: str) -> list[type]:
    """The classes whose actions a screen's keys call; empty for screens of modules that have tests of their own."""
    if screen in SCREENS:
        module, _, name = SCREENS[screen].partition(":")
        return [getattr(import_module(module), name)]
    known = {"dialog": ChoiceDialog, "edit": Editor, "list": RowList, "review": ReviewScreen, "name": NameField}
    known["files"] = RunFiles
    known |= {"budget": BudgetScreen, "budget-field": BudgetField}
    known |= {"composer": Composer, "transcript": Transcript, "chat-setting": SettingField}
    return [known[screen]] if screen in known else []


def test_ids_are_unique() -> None:
    ids = [key.id for key in KEYS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.id)
def test_each_row_is_whole_and_its_keys_arrive(key: Key) -> None:
    assert key.label and key.help.endswith(".") and key.screens
    for name in key.keys.split(","):
        assert name == textual_name(name)
        assert name not in UNSENDABLE and not name.startswith("alt+")


@pytest.mark.parametrize("screen", sorted({screen for key in KEYS for screen in key.screens}))
def test_no_key_means_two_things_on_one_screen(screen: str) -> None:
    seen: dict[str, str] = {}
    for key in keys_for(screen):
        for name in key.keys.split(","):
            assert name not in seen, f"{name}: {seen.get(name)} and {key.id}"
            seen[name] = key.id


@pytest.mark.parametrize(
    "screen", ["plan", "budget", "budget-field", "review", "edit", "name", "dialog", "list", "files", *CHAT]
)
def test_every_action_of_these_screens_exists(screen: str) -> None:
    for key in keys_for(screen):
        name = key.action.partition("(")[0]
        target = NanosoloApp if name.startswith("app.") else owners(screen)[0]
        assert hasattr(target, f"action_{name.removeprefix('app.')}"), f"{key.id}: {key.action}"


def test_every_action_of_the_app_exists() -> None:
    for key in keys_for(EVERYWHERE):
        name = key.action.removeprefix("app.").partition("(")[0]
        assert hasattr(NanosoloApp, f"action_{name}")


def test_bindings_carry_the_ids_for_remapping() -> None:
    assert [binding.id for binding in bindings_for("plan")] == [key.id for key in keys_for("plan")]  # type: ignore[union-attr]


def test_keys_are_shown_as_people_write_them() -> None:
    assert [show_key(name) for name in ("question_mark", "ctrl+p", "L", "enter")] == ["?", "^p", "L", "Enter"]
