"""Key names as users read and write them, and conflicts that a remapping causes."""

import difflib
import string
from collections.abc import Mapping

from textual.keys import KEY_NAME_REPLACEMENTS, Keys, _character_to_key

from tui.keys.bindings import EVERYWHERE, KEYS, Key

SYMBOLS = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "plus": "+",
    "equals_sign": "=",
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


MODIFIERS = frozenset({"alt", "ctrl", "shift"})
# keys without modifiers; Textual lists "return", but terminals send "enter"
NAMES = {key.value for key in Keys if key.value.isalnum()} - {"return"} | {
    _character_to_key(character) for character in string.digits + string.ascii_letters + string.punctuation + " "
}


def textual_name(key: str) -> str | None:
    """Textual's name of a key that users may write as `?`, `Enter` or `shift+l`; None if there is no such key."""
    key = key.strip()
    before, base = (key[:-1], key[-1]) if key.endswith("+") else (key[: key.rfind("+") + 1], key[key.rfind("+") + 1 :])
    modifiers = {part.lower() for part in before.split("+")[:-1]}
    if len(base) > 1:
        base = base.removeprefix("upper_").upper() if base.startswith("upper_") else base.lower()
    elif modifiers == {"shift"} and base.isalpha():  # terminals send the letter
        modifiers, base = set(), base.upper()
    elif modifiers:
        base = base.lower()
    name = _character_to_key(base) if len(base) == 1 else KEY_NAME_REPLACEMENTS.get(base, base)
    if not modifiers <= MODIFIERS or (name not in NAMES and not (len(base) == 1 and base.isprintable())):
        return None
    return "+".join([*sorted(modifiers), name])


def nearest_name(key: str) -> str:
    """The key name most similar to this one."""
    before, plus, base = key.strip().rpartition("+")
    near = difflib.get_close_matches(base.lower(), sorted(NAMES), n=1, cutoff=0.0)[0]
    return f"{before}{plus}{near}" if set(before.split("+")) <= MODIFIERS else near


def show_key(key: str) -> str:
    """A key as users read it: `question_mark` -> `?`, `ctrl+p` -> `^p`."""
    if key.startswith("ctrl+"):
        return "^" + show_key(key.removeprefix("ctrl+"))
    if key.startswith("upper_"):
        return key.removeprefix("upper_").upper()
    return SYMBOLS.get(key, key)


def shown_keys(key: Key, keymap: Mapping[str, str], limit: int = 3) -> list[str]:
    """The keys of a row as users read them, after remapping."""
    return [show_key(name.strip()) for name in keymap.get(key.id, key.keys).split(",")][:limit]


def clashes(keymap: Mapping[str, str]) -> list[str]:
    """One line per row that loses a key on its screen because the user assigned that key to another row."""
    found = []
    for key in KEYS:
        wanted = {name.strip() for name in keymap.get(key.id, "").split(",")}
        for other in KEYS:
            kept = {name.strip() for name in keymap.get(other.id, other.keys).split(",")}
            together = set(key.screens) & set(other.screens) or EVERYWHERE in (*key.screens, *other.screens)
            for name in sorted(wanted & kept):
                if other.id != key.id and together:
                    found.append(f'keys."{key.id}" = "{name}" conflicts with {other.id}, which uses the same key.')
    return found
