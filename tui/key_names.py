"""Keys as people read and remap them: their symbols, and which rows of the table lose a key to another."""

from collections.abc import Mapping

from tui.bindings import EVERYWHERE, KEYS, Key

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


def clashes(keymap: Mapping[str, str]) -> list[str]:
    """One line for each row that loses a key on its screen because the user gave that key to another row."""
    found = []
    for key in KEYS:
        wanted = {name.strip() for name in keymap.get(key.id, "").split(",")}
        for other in KEYS:
            kept = {name.strip() for name in keymap.get(other.id, other.keys).split(",")}
            together = set(key.screens) & set(other.screens) or EVERYWHERE in (*key.screens, *other.screens)
            for name in sorted(wanted & kept):
                if other.id != key.id and together:
                    found.append(f'keys."{key.id}" = "{name}" takes the key of {other.id}.')
    return found
