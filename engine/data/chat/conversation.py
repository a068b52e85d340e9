"""Conversations and how they become tokens: nanochat's format, with the tokens to train on marked."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from engine.data.tokenizer import Tokenizer

Role = Literal["system", "user", "assistant"]
PartType = Literal["text", "python", "python_output"]


class Part(msgspec.Struct, frozen=True):
    """A piece of an assistant's message: text, a program (a calculation), or the output of that program."""

    type: PartType
    text: str


class Message(msgspec.Struct, frozen=True):
    """One message. Only the assistant's messages may consist of parts."""

    role: Role
    content: str | tuple[Part, ...]


Conversation = tuple[Message, ...]


class Rendered(NamedTuple):
    """A conversation as tokens."""

    ids: np.ndarray  # (n,) uint16
    trained: np.ndarray  # (n,) bool: whether the token is the assistant's own, so that its loss counts


class Malformed(ValueError):
    """A conversation is not valid. The message says why in a few words."""


def conversation_of(messages: Any) -> Conversation:
    """Check a list of {role, content} and convert it. A first system message is prepended to the user's.

    User and assistant take turns, the user begins, and the assistant speaks at least once. Raises Malformed.
    """
    try:
        found = msgspec.convert(messages, tuple[Message, ...])
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from None
    if found and found[0].role == "system":
        system, *rest = found
        if not rest or rest[0].role != "user":
            raise Malformed("a system message is not followed by the user's")
        if not isinstance(system.content, str) or not isinstance(rest[0].content, str):
            raise Malformed("a system or user message is not text")
        found = (Message("user", f"{system.content}\n\n{rest[0].content}"), *rest[1:])
    for number, message in enumerate(found):
        expected = "user" if number % 2 == 0 else "assistant"
        if message.role != expected:
            raise Malformed(f"message {number + 1} is from {message.role} instead of {expected}")
        if message.role == "user" and not isinstance(message.content, str):
            raise Malformed(f"message {number + 1}, the user's, is not text")
        if not _is_unicode(message):
            raise Malformed(f"message {number + 1} is not Unicode text")
    if len(found) < 2:
        raise Malformed("the assistant says nothing")
    return found


def render(conversation: Conversation, tokenizer: Tokenizer) -> Rendered:
    """<|bos|> and each message between its start and end token. The assistant's text, its programs with their
    surrounding tokens and its end token are trained on; program outputs are not, since the tool produces them."""
    special = tokenizer.special_ids
    ids: list[int] = [tokenizer.bos_id]
    trained: list[bool] = [False]

    def add(tokens: Sequence[int], own: bool) -> None:
        ids.extend(tokens)
        trained.extend([own] * len(tokens))

    for message in conversation:
        mine = message.role == "assistant"
        add([special[f"<|{message.role}_start|>"]], False)
        if isinstance(message.content, str):
            add(tokenizer.encode(message.content), mine)
        else:
            for part in message.content:
                tokens = tokenizer.encode(part.text)
                if part.type == "python":
                    tokens = [special["<|python_start|>"], *tokens, special["<|python_end|>"]]
                elif part.type == "python_output":
                    tokens = [special["<|output_start|>"], *tokens, special["<|output_end|>"]]
                add(tokens, part.type != "python_output")
        add([special[f"<|{message.role}_end|>"]], mine)
    return Rendered(np.array(ids, np.uint16), np.array(trained, bool))


def prompt_of(conversation: Conversation, tokenizer: Tokenizer) -> list[int]:
    """The prompt tokens for the assistant's answer: all messages (the last one the user's) and the start token."""
    if not conversation or conversation[-1].role != "user":
        raise Malformed("the last message is not the user's")
    ids = render(conversation, tokenizer).ids.tolist()
    return [*ids, tokenizer.special_ids["<|assistant_start|>"]]


def text_of(message: Message) -> str:
    """The text of a message, without programs and their outputs."""
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content if part.type == "text")


def _is_unicode(message: Message) -> bool:
    """False for lone surrogates, which JSON can contain but UTF-8 cannot encode."""
    texts = [message.content] if isinstance(message.content, str) else [part.text for part in message.content]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True
