"""Shortens texts of models and users for a report, and splits answers at calls of the calculator."""

import re
from typing import NamedTuple

MOST_CHARACTERS = 4000  # of one text
# what the calculator's special tokens mark in an answer
CALL = re.compile(r"<\|python_start\|>(.*?)<\|python_end\|>(?:<\|output_start\|>(.*?)<\|output_end\|>)?", re.DOTALL)


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """At most so many characters, and how many were left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def excerpt(text: str, most: int = 400) -> str:
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
