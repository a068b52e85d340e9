"""The one table of keys: Textual's bindings, the footer, the help screen and the palette are made from it."""

from collections.abc import Mapping
from typing import NamedTuple

from textual.binding import Binding, BindingType

EVERYWHERE = "app"
RUN_SCREENS = ("monitor", "logs", "doctor")


class Key(NamedTuple):
    """One thing a key does. `id` is the name under which config.toml remaps it."""

    id: str
    keys: str  # Textual's names, comma-separated; the first is shown
    action: str  # method action_<action> of the screen, or of the app with the prefix `app.`
    label: str  # one or two words, for the footer
    help: str  # one sentence, for help and palette
    screens: tuple[str, ...]
    footer: bool = True


KEYS: tuple[Key, ...] = (
    # everywhere
    Key(
        "go.plan",
        "1",
        "app.go('plan')",
        "Plan",
        "Choose GPU, preset and settings, see what they mean.",
        ("app",),
        False,
    ),
    Key("go.monitor", "3", "app.go('monitor')", "Monitor", "Watch a run: verdict, charts, machine.", ("app",), False),
    Key("go.runs", "4", "app.go('runs')", "Runs", "See every run and its state.", ("app",), False),
    Key("go.compare", "5", "app.go('compare')", "Compare", "Lay two to four runs over each other.", ("app",), False),
    Key("go.logs", "6", "app.go('logs')", "Logs", "Read what the engine wrote.", ("app",), False),
    Key("app.back", "escape", "app.back", "Back", "Go back to where you came from.", ("app",), False),
    Key("app.palette", "colon,ctrl+p", "app.command_palette", "Palette", "Find any command by name.", ("app",)),
    Key("app.help", "question_mark", "app.help", "Help", "Show the keys of this screen and what they do.", ("app",)),
    Key("app.theme", "ctrl+t", "app.next_theme", "Theme", "Change to the next colour theme.", ("app",), False),
    Key("app.leave", "q,ctrl+q,ctrl+c", "app.leave", "Leave", "Leave the console; training goes on.", ("app",)),
    Key("dialog.close", "escape", "app.back", "Close", "Close this and go back.", ("dialog",), False),
    # plan
    Key("plan.preset", "p", "choose_preset", "Preset", "Choose the preset to start from.", ("plan",)),
    Key("plan.gpu", "d", "choose_gpu", "Device", "Choose the GPU to plan for.", ("plan",)),
    Key("plan.edit", "enter,e", "edit", "Edit", "Edit the setting under the cursor.", ("plan",)),
    Key(
        "plan.more",
        "right,plus",
        "step(1)",
        "More",
        "Take the next larger value, or the next choice.",
        ("plan",),
        False,
    ),
    Key(
        "plan.less",
        "left,minus",
        "step(-1)",
        "Less",
        "Take the next smaller value, or the last choice.",
        ("plan",),
        False,
    ),
    Key(
        "plan.reset",
        "backspace,delete",
        "reset",
        "Reset",
        "Give the setting back its preset's value.",
        ("plan",),
        False,
    ),
    Key("plan.fix", "f", "fix", "Fix", "Apply the fix of the warning that is shown.", ("plan",)),
    Key("plan.next_warning", "w", "next_warning", "Next warning", "Show the next warning.", ("plan",), False),
    Key("plan.undo", "u", "undo", "Undo", "Take the last change back.", ("plan",), False),
    Key("plan.save", "s", "save", "Save", "Save these settings as a preset of your own.", ("plan",), False),
    Key("plan.launch", "L", "review", "Launch", "Review the launch: nothing starts before you confirm.", ("plan",)),
    Key("plan.export", "E", "export", "Export", "Write the complete configuration as TOML.", ("plan", "review")),
    # launch review
    Key("review.launch", "enter", "launch", "Launch", "Start the run; it goes on when you leave.", ("review",)),
    Key("review.name", "n", "rename", "Name", "Give the run another name.", ("review",)),
    Key("review.copy", "y", "copy_command", "Copy", "Copy the command that does the same.", ("review",)),
    Key(
        "review.whole",
        "t",
        "toggle_whole",
        "Whole TOML",
        "Show the whole configuration, or only the changes.",
        ("review",),
    ),
    # a run
    Key("run.checkpoint", "c", "checkpoint", "Checkpoint", "Write a checkpoint at the next step.", ("monitor", "runs")),
    Key("run.stop", "x", "stop", "Stop", "Stop the run, after a checkpoint or now.", ("monitor", "runs")),
    Key("run.resume", "r", "resume", "Resume", "Go on from the last checkpoint.", ("monitor", "runs")),
)


def bindings_for(screen: str) -> list[BindingType]:
    """Textual's bindings of one screen (`app`: those that hold everywhere)."""
    return [
        Binding(key.keys, key.action, key.label, show=key.footer, tooltip=key.help, id=key.id)
        for key in KEYS
        if screen in key.screens
    ]


def keys_for(screen: str) -> list[Key]:
    """The table's rows of one screen, in their order."""
    return [key for key in KEYS if screen in key.screens]


SYMBOLS = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "plus": "+",
    "minus": "-",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "escape": "Esc",
    "enter": "Enter",
    "space": "Space",
    "backspace": "Bksp",
    "delete": "Del",
    "tab": "Tab",
    "home": "Home",
    "end": "End",
    "pageup": "PgUp",
    "pagedown": "PgDn",
}


def show_key(key: str) -> str:
    """One key as it is written for people: `question_mark` -> `?`, `ctrl+p` -> `^p`."""
    if key.startswith("ctrl+"):
        return "^" + show_key(key.removeprefix("ctrl+"))
    if key.startswith("upper_"):
        return key.removeprefix("upper_").upper()
    return SYMBOLS.get(key, key)


def shown_keys(key: Key, keymap: Mapping[str, str], limit: int = 3) -> list[str]:
    """The keys of a row as people read them, after the user's remapping."""
    return [show_key(name.strip()) for name in keymap.get(key.id, key.keys).split(",")][:limit]
