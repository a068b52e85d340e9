"""OpenAI's chat API: reads and validates requests, writes answers and errors."""

import json
import time
import uuid
from typing import Any

import msgspec

from engine.core.errors import UsageError
from engine.data.chat.conversation import Conversation, Malformed, Message, Part, conversation_of
from engine.inference.batching import GenerationRequest
from engine.inference.chat_settings import Settings
from engine.inference.context_window import ContextExceeded, fit
from engine.inference.detokenizer import Piece
from engine.inference.engine import ChatEngine, Finish
from engine.inference.sampling_params import Sampling

MAX_BODY = 1 << 20  # bytes
_MAX_STOPS = 4


class Refused(Exception):
    """A rejected request: the HTTP status, one sentence, and the invalid field."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def body(self) -> bytes:
        """The error object of the API."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return json.dumps(
            {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}
        ).encode()


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The supported fields. Others are ignored, as clients send many. `top_k` and `forget` are extensions."""

    messages: list[dict[str, Any]]
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None  # 0: sample from all tokens
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Any] | None = None
    logprobs: bool | None = None
    forget: bool = False  # leave out the oldest turns if not all fit

    @property
    def stops(self) -> list[str]:
        """Texts that end the answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def limit(self) -> int | None:
        """The maximum number of new tokens."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


def read_request(body: bytes, name: str) -> ChatRequest:
    """Parse a request and check all that does not need the model. `name`: the model's name. Raises Refused."""
    try:
        request = msgspec.json.decode(body, type=ChatRequest)
    except msgspec.ValidationError as error:
        raise Refused(400, f"the request is not valid: {error}", _field(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the request is not JSON: {error}") from None
    check_request(request, name)
    return request


def check_request(request: ChatRequest, name: str) -> None:
    """Reject unsupported fields and values. Raises Refused."""
    if request.model is not None and request.model != name:
        raise Refused(404, f"no model {request.model!r:.80}: this server has {name!r}", "model", "model_not_found")
    if request.n not in (None, 1):
        raise Refused(400, f"n = {request.n}: only 1 answer per request is supported", "n")
    if request.tools:
        raise Refused(400, "tools are not supported", "tools")
    if request.logprobs:
        raise Refused(400, "logprobs are not supported", "logprobs")
    if len(request.stops) > _MAX_STOPS:
        raise Refused(400, f"{len(request.stops)} stop texts: at most {_MAX_STOPS} are supported", "stop")
    if request.limit is not None and request.limit < 1:
        raise Refused(400, f"max_tokens = {request.limit}: expected 1 or more", "max_tokens")


def generation_request(request: ChatRequest, engine: ChatEngine, defaults: Settings) -> GenerationRequest:
    """The request for the batcher. Raises Refused."""
    sampling = sampling_of(request, defaults)
    prompt, truncated = prompt_of_request(request, engine)
    room = engine.context - len(prompt)
    limit = min(room, request.limit or defaults.max_new_tokens or room)
    # without a seed each request gets a different answer, as with OpenAI
    seed = uuid.uuid4().int if request.seed is None else request.seed
    return GenerationRequest(prompt, limit, sampling, seed, request.stops, truncated)


def sampling_of(request: ChatRequest, defaults: Settings) -> Sampling:
    """The sampling settings of a request. Raises Refused."""
    default = defaults.sampling
    chosen = Sampling(
        temperature=default.temperature if request.temperature is None else request.temperature,
        top_k=default.top_k if request.top_k is None else request.top_k or None,
        top_p=default.top_p if request.top_p is None else request.top_p,
    )
    try:
        return chosen.check()
    except UsageError as error:
        raise Refused(400, str(error), str(error).partition(" ")[0]) from None


def prompt_of_request(request: ChatRequest, engine: ChatEngine) -> tuple[list[int], int]:
    """The prompt's tokens and the number of messages left out. Raises Refused."""
    messages = request.messages
    first = 1 if messages and _role(messages[0]) == "system" else 0

    def prompt(turns: int) -> list[int]:
        """The prompt without that many of the oldest turns."""
        return engine.prompt(read_conversation([*messages[:first], *messages[first + 2 * turns :]]))

    turns = max(1, (len(messages) - first + 1) // 2)
    try:
        fitted = fit(prompt, turns, engine.context, truncate=request.forget)
    except ContextExceeded as error:
        raise Refused(400, str(error), "messages", "context_length_exceeded") from None
    return fitted.prompt, 2 * fitted.truncated


def read_conversation(messages: list[dict[str, Any]]) -> Conversation:
    """The messages up to the last one of the user. Content is text or a list of parts. Raises Refused."""
    plain = [{"role": _role(message), "content": _content(message)} for message in messages]
    try:
        # an empty answer is added because the check expects a complete conversation
        return conversation_of([*plain, Message("assistant", "")])[:-1]
    except Malformed as error:
        raise Refused(400, f"messages: {error}", "messages") from None


def models(engine: ChatEngine, settings: Settings, started: float) -> dict[str, Any]:
    """The list of models, with one entry."""
    about = {
        "stage": engine.stage,
        "step": engine.step,
        "chats": engine.chats,
        "context": engine.context,
        "parameters": engine.model.shape.params.total,
        "defaults": msgspec.to_builtins(settings.sampling),
    }
    model = {"id": engine.name, "object": "model", "created": int(started), "owned_by": "nanosolo", "nanosolo": about}
    return {"object": "list", "data": [model]}


class Writer:
    """Encodes one answer, complete or in chunks."""

    def __init__(self, key: str, model: str) -> None:
        self._head = {"id": f"chatcmpl-{key}", "created": int(time.time()), "model": model}

    def whole(self, text: str, parts: list[Part], finish: Finish) -> bytes:
        """The answer as one object. `parts` includes calculations, if any."""
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if any(part.type != "text" for part in parts):
            message["parts"] = msgspec.to_builtins(parts)
        choice = {"index": 0, "message": message, "finish_reason": finish.end}
        return json.dumps(
            {**self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(finish)}
        ).encode()

    def begin(self) -> bytes:
        """The first chunk."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, piece: Piece) -> bytes:
        """A piece of the answer. Calculations are in a separate field."""
        if piece.type == "text":
            return self._chunk({"content": piece.text})
        return self._chunk({"part": {"type": piece.type, "text": piece.text}})

    def end(self, finish: Finish, usage: bool) -> bytes:
        """The last chunks."""
        last = self._chunk({}, finish.end)
        if usage:
            last += _event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(finish)})
        return last + b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def _usage(finish: Finish) -> dict[str, int]:
    return {
        "prompt_tokens": finish.prompt_tokens,
        "completion_tokens": finish.new_tokens,
        "total_tokens": finish.prompt_tokens + finish.new_tokens,
    }


def _role(message: dict[str, Any]) -> Any:
    role = message.get("role")
    return "system" if role == "developer" else role


def _content(message: dict[str, Any]) -> Any:
    """The content as text, or as parts if it includes calculations."""
    content = message.get("content")
    if not isinstance(content, list):
        return content
    try:
        parts = msgspec.convert(content, list[Part])
    except msgspec.ValidationError as error:
        raise Refused(400, f"messages: only parts of text are supported: {error}", "messages") from None
    return "".join(part.text for part in parts) if all(part.type == "text" for part in parts) else parts


def _field(message: str) -> str | None:
    """The field that msgspec names: `Expected ... - at `$.temperature``."""
    _, found, where = message.partition("at `$.")
    return where.rstrip("`").partition("[")[0] if found else None
