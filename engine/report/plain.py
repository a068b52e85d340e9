"""Makes texts of models and users safe to show: no control characters, no hidden or reordered text, no floods."""

import re
from typing import NamedTuple

MOST_CHARACTERS = 4000  # of one text
# what the calculator's special tokens mark in an answer
CALL = re.compile(r"<\|python_start\|>(.*?)<\|python_end\|>(?:<\|output_start\|>(.*?)<\|output_end\|>)?", re.DOTALL)

_NEWLINES = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# directions of writing, invisible operators, interlinear marks, tags, and what Unicode says is no character
_HIDDEN = re.compile(
    "[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
_PILED_UP = re.compile(
    r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})"
    r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)


def plain(text: str) -> str:
    """The text with control characters as pictures of themselves, and what reorders or hides text by its number."""
    text = _NEWLINES.sub("\n", text)
    text = _CONTROL.sub(lambda found: _picture(ord(found[0])), text)
    text = _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)
    return _PILED_UP.sub(r"\1", text)


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """At most so many characters, and how many were left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def one_line(text: str, most: int = 400) -> str:
    """The text on one line, shortened."""
    return shortened(" ".join(text.split()), most)


class Part(NamedTuple):
    """A piece of an answer: words, or a call of the calculator."""

    text: str
    call: bool = False


def parts_of(answer: str) -> list[Part]:
    """An answer in its pieces; a call of the calculator is shown with what it gave."""
    found: list[Part] = []
    end = 0
    for call in CALL.finditer(answer):
        found.append(Part(answer[end : call.start()]))
        found.append(Part(call[1] if call[2] is None else f"{call[1]} → {call[2]}", call=True))
        end = call.end()
    found.append(Part(answer[end:]))
    return [part for part in found if part.text]


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
