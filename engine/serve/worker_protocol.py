"""What a worker says, one JSON object a line, as its reader decodes it: without torch, for those who have none."""

import msgspec

from engine.inference.chat_settings import Settings

Id = int | str


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Anything that a worker says."""


class Loaded(Event, frozen=True, kw_only=True, tag="loaded"):
    """The model is there; what follows answers operations."""

    name: str
    stage: str
    step: int
    chats: bool
    context: int  # tokens that the model sees at a time
    parameters: int
    device: str  # cpu or cuda
    warning: str = ""  # other code of nanosolo wrote the checkpoint


class Delta(Event, frozen=True, kw_only=True, tag="piece"):
    """Some more of an answer; `type` is text, python (a call of the calculator) or python_output."""

    id: Id
    type: str
    text: str


class Finished(Event, frozen=True, kw_only=True, tag="finish"):
    """The end of an answer: stop (its own), length (no more room), cancelled."""

    id: Id
    end: str
    prompt_tokens: int
    new_tokens: int
    seconds: float
    first_token_seconds: float | None
    truncated: int  # earlier messages that did not fit

    @property
    def tokens_per_second(self) -> float:
        """New tokens over all seconds, those before the first one too."""
        return self.new_tokens / self.seconds if self.seconds else 0.0


class WorkerError(Event, frozen=True, kw_only=True, tag="error"):
    """An operation that was not carried out, or (without an id) a model that could not be loaded."""

    id: Id | None
    message: str


AnyEvent = Loaded | Delta | Finished | WorkerError


def generate(key: Id, messages: list[dict[str, object]], settings: Settings) -> bytes:
    """The line that asks for an answer; turns that do not fit are left out, the oldest first."""
    sampling = settings.sampling
    operation: dict[str, object] = {"op": "generate", "id": key, "messages": messages, "forget": True}
    operation |= {"temperature": sampling.temperature, "top_k": sampling.top_k or 0, "top_p": sampling.top_p}
    operation |= {"max_tokens": settings.max_new_tokens, "seed": settings.turn_seed(len(messages))}
    return msgspec.json.encode(operation) + b"\n"


def cancel(key: Id) -> bytes:
    """The line that ends an answer."""
    return msgspec.json.encode({"op": "cancel", "id": key}) + b"\n"
