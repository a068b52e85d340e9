"""Converts rows of known datasets to conversations."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from engine.data.chat.conversation import Conversation, Malformed, Message, Part, conversation_of

LETTERS = "ABCD"
_CALCULATION = re.compile(r"<<([^<>]*)>>")


class Choice(NamedTuple):
    """A multiple-choice question."""

    question: str  # with its options
    letters: tuple[str, ...]
    answer: str  # one of them


def from_messages(row: Mapping[str, Any]) -> Conversation:
    """A row with `messages`, a list of {role, content}. Raises Malformed."""
    messages = row.get("messages")
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise Malformed("there is no list of messages")
    # Arrow returns every field of a struct, also those without a value
    return conversation_of([{key: m[key] for key in ("role", "content")} if _is_message(m) else m for m in messages])


def from_gsm8k(row: Mapping[str, Any]) -> Conversation:
    """GSM8K: a question and an answer in which <<48/2=24>> marks a call of the calculator and its result."""
    question, answer = _text(row, "question"), _text(row, "answer")
    parts: list[Part] = []
    for number, piece in enumerate(_CALCULATION.split(answer)):
        if number % 2:
            expression, _, result = piece.rpartition("=")
            parts += [Part("python", expression or result), Part("python_output", result if expression else "")]
        elif piece:
            parts.append(Part("text", piece))
    return (Message("user", question), Message("assistant", tuple(parts)))


def gsm8k_answer(text: str) -> str | None:
    """The number after the last line's ####, without thousands separators; None if there is none."""
    found = re.search(r"#### *(-?[0-9.,]+)", text)
    return found.group(1).replace(",", "").rstrip(".") if found else None


def from_mmlu(row: Mapping[str, Any]) -> Conversation:
    """MMLU as a conversation."""
    return choice_conversation(mmlu_choice(row))


def mmlu_choice(row: Mapping[str, Any]) -> Choice:
    """MMLU: question, choices and the answer's index; the rows of auxiliary_train have these under `train`."""
    inner = row.get("train") or row
    choices, answer = inner.get("choices"), inner.get("answer")
    if not isinstance(choices, Sequence) or not isinstance(answer, int) or not 0 <= answer < len(choices) <= 4:
        raise Malformed("choices or answer is missing")
    letters = tuple(LETTERS[: len(choices)])
    return Choice(ask_choice(_text(inner, "question"), letters, choices), letters, letters[answer])


def from_arc(row: Mapping[str, Any]) -> Conversation:
    """ARC as a conversation."""
    return choice_conversation(arc_choice(row))


def arc_choice(row: Mapping[str, Any]) -> Choice:
    """ARC: question, choices {text, label} and answerKey."""
    choices = row.get("choices")
    if not isinstance(choices, Mapping) or row.get("answerKey") not in choices.get("label", ()):
        raise Malformed("choices or answerKey is missing")
    letters = tuple(choices["label"])
    return Choice(ask_choice(_text(row, "question"), letters, choices["text"]), letters, str(row["answerKey"]))


def ask_choice(question: str, letters: Sequence[str], choices: Sequence[str]) -> str:
    """A question with its options. The letter follows its option without a blank, so that it is the same token
    as the answer, which small models need (nanochat)."""
    options = "\n".join(f"- {choice}={letter}" for letter, choice in zip(letters, choices, strict=True))
    return f"{question}\n{options}\n\nAnswer with one letter."


def choice_conversation(choice: Choice) -> Conversation:
    """The question and the right letter."""
    return (Message("user", choice.question), Message("assistant", choice.answer))


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and "role" in value and "content" in value


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Malformed(f"there is no {key}")
    return value


RowFormat = Callable[[Mapping[str, Any]], Conversation]
