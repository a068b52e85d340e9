"""Incremental detokenizer: turns the tokens of an answer into text and calculations as they arrive."""

import codecs
from collections.abc import Sequence
from typing import NamedTuple

from engine.data.chat.conversation import Part, PartType
from engine.data.tokenizer import Tokenizer


class Piece(NamedTuple):
    """New characters of an answer: text, a program, or the output of a program."""

    type: PartType
    text: str


class AnswerReader:
    """Reads one answer token by token. A character of several tokens is returned once it is complete.

    `stops` are texts that end the answer. They and all that follows are dropped, and `stopped` becomes True.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self._tokens = tokenizer.tokens
        special = tokenizer.special_ids
        self._names = {token: name for name, token in special.items()}
        self._switches: dict[int, PartType] = {
            special["<|python_start|>"]: "python",
            special["<|python_end|>"]: "text",
            special["<|output_start|>"]: "python_output",
            special["<|output_end|>"]: "text",
        }
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._type: PartType = "text"
        self._stops = [stop for stop in stops if stop]
        self._held = ""  # the end of the text, which may be the start of a stop text
        self.stopped = False
        self.parts: list[Part] = []  # everything returned so far

    def read(self, token: int) -> list[Piece]:
        """The pieces that one more token completes."""
        if self.stopped:
            return []
        if token in self._switches:
            pieces = self._out(self._decoder.decode(b"", final=True), last=True)
            self._decoder.reset()
            self._type = self._switches[token]
            return pieces
        if token in self._names:  # an undertrained model may generate special tokens anywhere
            return self._out(self._decoder.decode(b"", final=True) + self._names[token])
        return self._out(self._decoder.decode(self._tokens[token]))

    def finish(self) -> list[Piece]:
        """The remaining text after the last token."""
        return [] if self.stopped else self._out(self._decoder.decode(b"", final=True), last=True)

    @property
    def text(self) -> str:
        """The answer so far, without programs and their output."""
        return "".join(part.text for part in self.parts if part.type == "text")

    def _out(self, text: str, last: bool = False) -> list[Piece]:
        if self._type == "text" and self._stops:
            text = self._held + text
            places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
            if places:
                self.stopped, text, self._held = True, text[: min(places)], ""
            else:
                keep = 0 if last else max(_overlap(text, stop) for stop in self._stops)
                text, self._held = text[: len(text) - keep], text[len(text) - keep :]
        if not text:
            return []
        if self.parts and self.parts[-1].type == self._type:
            self.parts[-1] = Part(self._type, self.parts[-1].text + text)
        else:
            self.parts.append(Part(self._type, text))
        return [Piece(self._type, text)]


def _overlap(text: str, stop: str) -> int:
    """The length of the longest suffix of `text` that is a proper prefix of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
