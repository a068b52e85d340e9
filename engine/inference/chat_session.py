"""A chat session: turns, truncation to the model's context, saving."""

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from engine.data.chat.conversation import Message, Part
from engine.inference.chat_settings import Settings, save_conversations
from engine.inference.context_window import fit
from engine.inference.decoder import Decoder, End
from engine.inference.detokenizer import Piece
from engine.inference.engine import ChatEngine, Finish


class Reply(NamedTuple):
    """A finished answer and its figures."""

    text: str
    parts: tuple[Part, ...]
    end: End
    prompt_tokens: int
    new_tokens: int
    seconds: float
    first_token_seconds: float | None
    truncated: int  # earlier messages left out because they do not fit


class Session:
    """A conversation with one model. The oldest turns are left out when the context is full."""

    def __init__(self, engine: ChatEngine, settings: Settings | None = None) -> None:
        self.engine = engine
        self.settings = settings or Settings()
        self.system: str | None = None
        self.messages: list[Message] = []
        self._decoder = Decoder(engine.model, engine.context, keeps_prefix=True)

    def clear(self) -> None:
        """Start a new conversation with the same system message."""
        self.messages = []

    def ask(self, message: str) -> Generator[Piece | Reply]:
        """Send a message. Yields the answer in pieces, then the Reply. Both messages join the conversation, even if
        the iterator is closed early. Raises UsageError for a text that does not fit."""
        began = time.perf_counter()
        question = Message("user", message)
        prompt, truncated = self._fit(question)
        room = self.engine.context - len(prompt)
        limit = min(room, self.settings.max_new_tokens or room)
        seed = self.settings.turn_seed(len(self.messages))
        answer: list[Part] = []
        first: float | None = None
        try:
            answering = self.engine.answer(prompt, limit, self.settings.sampling, seed, decoder=self._decoder)
            with closing(answering) as pieces:
                for piece in pieces:
                    if isinstance(piece, Finish):
                        finish = piece
                        continue
                    first = first or time.perf_counter() - began
                    _append(answer, piece)
                    yield piece
        finally:
            self.messages += [question, _message(answer)]
        seconds = time.perf_counter() - began
        text = "".join(part.text for part in answer if part.type == "text")
        yield Reply(text, tuple(answer), finish.end, finish.prompt_tokens, finish.new_tokens, seconds, first, truncated)

    def save(self, path: Path) -> None:
        """Write the conversation as one line of JSON, usable as training data. Raises NanosoloError."""
        save_conversations(path, [[*self._system(), *self.messages]])

    def _system(self) -> list[Message]:
        return [Message("system", self.system)] if self.system else []

    def _fit(self, question: Message) -> tuple[list[int], int]:
        """The prompt with as many turns as fit, and the number of earlier messages left out."""
        if not self.engine.chats:
            self.messages = []  # a base model continues each text on its own

        def prompt_without(turns: int) -> list[int]:
            kept = [*self.messages[2 * turns :], question]
            if self.system:
                kept[0] = Message("user", f"{self.system}\n\n{kept[0].content}")
            return self.engine.prompt(tuple(kept))

        fitted = fit(prompt_without, len(self.messages) // 2 + 1, self.engine.context)
        return fitted.prompt, 2 * fitted.truncated


def _append(parts: list[Part], piece: Piece) -> None:
    if parts and parts[-1].type == piece.type:
        parts[-1] = Part(piece.type, parts[-1].text + piece.text)
    else:
        parts.append(Part(piece.type, piece.text))


def _message(parts: list[Part]) -> Message:
    """Plain text if no program was run, else parts."""
    if all(part.type == "text" for part in parts):
        return Message("assistant", "".join(part.text for part in parts))
    return Message("assistant", tuple(parts))
