"""A conversation with one model: its turns, the messages sent and the answers received."""

from dataclasses import dataclass, field
from typing import Literal

from engine.serve.worker_protocol import Finished

State = Literal["waiting", "writing", "done", "stopped", "failed"]


@dataclass
class Turn:
    """A message and its answer so far."""

    question: str
    speaker: str  # the model that answers: run, stage and step
    state: State = "waiting"
    parts: list[tuple[str, str]] = field(default_factory=list)  # (text | python | python_output, text)
    figures: Finished | None = None
    fault: str = ""

    def append(self, kind: str, text: str) -> None:
        """Add a piece of the answer."""
        if self.parts and self.parts[-1][0] == kind:
            text = self.parts.pop()[1] + text
        self.parts.append((kind, text))

    @property
    def is_open(self) -> bool:
        """Whether the answer is not finished."""
        return self.state in ("waiting", "writing")

    @property
    def answer(self) -> str:
        """The text of the answer, without calculations."""
        return "".join(text for kind, text in self.parts if kind == "text")

    def messages(self) -> list[dict[str, object]]:
        """The turn as messages of the chat protocol. Calculations stay separate parts."""
        content: object = self.answer
        if any(kind != "text" for kind, _ in self.parts):
            content = [{"type": kind, "text": text} for kind, text in self.parts]
        return [{"role": "user", "content": self.question}, {"role": "assistant", "content": content}]


class Conversation:
    """Turns, oldest first."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    @property
    def last(self) -> Turn | None:
        """The newest turn."""
        return self.turns[-1] if self.turns else None

    def said(self, system: str) -> list[dict[str, object]]:
        """All messages, without turns that have no answer."""
        first: list[dict[str, object]] = [{"role": "system", "content": system}] if system else []
        return first + [message for turn in self.turns if turn.parts for message in turn.messages()]

    def to_answer(self, system: str, chats: bool) -> list[dict[str, object]]:
        """The messages to send for the newest turn. A base model gets only the newest message."""
        assert self.last is not None
        first: list[dict[str, object]] = [{"role": "system", "content": system}] if system else []
        earlier = [message for turn in self.turns[:-1] if turn.parts for message in turn.messages()] if chats else []
        return [*first, *earlier, {"role": "user", "content": self.last.question}]

    def as_text(self) -> str:
        """Plain text for the clipboard; the user's lines begin with `>`."""
        blocks = []
        for turn in self.turns:
            blocks += ["\n".join(f"> {line}" for line in turn.question.splitlines())]
            blocks += ["".join(text if kind == "text" else f"[{text}]" for kind, text in turn.parts)]
        return "\n\n".join(blocks) + "\n"
