"""Events and operations of the model worker, one JSON object per line. Imports no torch."""

import msgspec

from engine.inference.chat_settings import Settings

Id = int | str


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """An event of a worker."""


class Loaded(Event, frozen=True, kw_only=True, tag="loaded"):
    """The model is loaded. All later events answer operations."""

    name: str
    stage: str
    step: int
    chats: bool
    context: int  # context length in tokens
    parameters: int
    device: str  # cpu or cuda
    warning: str = ""  # set if another version of nanosolo wrote the checkpoint


class Delta(Event, frozen=True, kw_only=True, tag="piece"):
    """A piece of an answer. `type`: text, python (a call of the calculator) or python_output."""

    id: Id
    type: str
    text: str


class Finished(Event, frozen=True, kw_only=True, tag="finish"):
    """The end of an answer. `end`: stop (by the model), length (limit reached) or cancelled."""

    id: Id
    end: str
    prompt_tokens: int
    new_tokens: int
    seconds: float
    first_token_seconds: float | None
    truncated: int  # earlier messages left out because they do not fit

    @property
    def tokens_per_second(self) -> float:
        """New tokens divided by the total seconds, including those before the first token."""
        return self.new_tokens / self.seconds if self.seconds else 0.0


class WorkerError(Event, frozen=True, kw_only=True, tag="error"):
    """An operation failed or, without an id, the model could not be loaded."""

    id: Id | None
    message: str


AnyEvent = Loaded | Delta | Finished | WorkerError


def generate(key: Id, messages: list[dict[str, object]], settings: Settings) -> bytes:
    """The line that requests an answer. Turns that do not fit are left out, oldest first."""
    sampling = settings.sampling
    operation: dict[str, object] = {"op": "generate", "id": key, "messages": messages, "forget": True}
    operation |= {"temperature": sampling.temperature, "top_k": sampling.top_k or 0, "top_p": sampling.top_p}
    operation |= {"max_tokens": settings.max_new_tokens, "seed": settings.turn_seed(len(messages))}
    return msgspec.json.encode(operation) + b"\n"


def cancel(key: Id) -> bytes:
    """The line that cancels an answer."""
    return msgspec.json.encode({"op": "cancel", "id": key}) + b"\n"
