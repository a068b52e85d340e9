"""Makes texts of models, users and files safe to show: no escapes, no control characters, no hidden or reordered text.

Each place that shows such a text uses one of these functions: `one_line` for messages and tables on a terminal,
`terminal_text` for texts of several lines, `masked` and `without_escapes` for logs, `document_text` for reports.
"""

import re
import unicodedata

# CSI sequences, OSC sequences up to their end, and escapes of two characters
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
# these make the character before them wider on some terminals only
_VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")

_NEWLINES = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# text directions, invisible operators, interlinear marks, tags, and code points that are not characters
_HIDDEN = re.compile(
    "[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
_STACKED = re.compile(
    r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})"
    r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)


def one_line(text: str) -> str:
    """One line for a terminal or a log: white space becomes blanks, other unprintable characters become U+FFFD."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def terminal_text(text: str) -> str:
    """Lines for a terminal. Control characters become `·`, tabs become blanks, invisible characters are left out."""
    text = text.replace("\r\n", "\n").expandtabs(4)
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(map(_terminal_character, _VARIATION_SELECTORS.sub("", text)))


def masked(text: str) -> str:
    """The text with `·` for each unprintable character except newlines: its length and positions stay."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else "·" for c in text)


def without_escapes(text: str) -> str:
    """The text without complete escape sequences, such as colors. Use `masked` for what else is unprintable."""
    return _ESCAPES.sub("", text)


def document_text(text: str) -> str:
    """A text for a report. Control characters become visible symbols; what hides or reorders text becomes its number.

    Keeps joiners of emoji and of scripts, newlines and tabs. Keeps at most 4 stacked marks per character.
    """
    text = _NEWLINES.sub("\n", text)
    text = _CONTROL.sub(lambda found: _symbol(ord(found[0])), text)
    text = _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)
    return _STACKED.sub(r"\1", text)


def _terminal_character(character: str) -> str:
    if character == "\n" or character.isprintable():
        return character
    category = unicodedata.category(character)
    return " " if category == "Zs" else "" if category == "Cf" else "·"


def _symbol(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
