"""Conversations that need no download: short, from templates and hand-written answers, the same everywhere."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

from engine.data.chat import builtin_dialogs as texts
from engine.data.chat.conversation import Conversation, Message, Part
from engine.data.corpora.corpus import Split, split_of

FORMAT = 1  # increase when the conversations change
VALIDATION_FRACTION = 0.1

Kind = Literal["talk", "knowledge", "nonsense", "arithmetic", "spelling", "order"]
Item = TypeVar("Item")

_ARITHMETIC = ("What is {}?", "Compute {}.", "How much is {}?", "{} = ?", "Calculate {}.", "Please work out {}.")
_SPELL = ("Spell the word {}.", "How do you spell {}?", "Spell {}.", "Write {} letter by letter.")
_COUNT = ("How many times is {1} in {0}?", "Count the letter {1} in {0}.", "How many {1} are in the word {0}?")
_LENGTH = ("How many letters has {}?", "How long is the word {}?", "Count the letters of {}.")
_LARGEST_MENTAL = 12  # sums up to this are answered from memory, larger ones with the calculator
_LARGEST = 99


class Example(NamedTuple):
    """One built-in conversation."""

    kind: Kind
    conversation: Conversation
    answer: str  # what a correct answer must end with; empty if there is no single one


def examples(split: Split) -> list[Example]:
    """The conversations of a split, ordered by a hash of each. The subject decides the split, not the wording:
    no sum and no word of validation occurs in training."""
    chosen = [(key, example) for key, example in _all() if split_of(key, VALIDATION_FRACTION) == split]
    return [
        example for key, example in sorted(chosen, key=lambda pair: (_hash(pair[0]), pair[1].conversation[0].content))
    ]


def _all() -> Iterator[tuple[str, Example]]:
    """Every example, with the key that decides its split."""
    yield from _answers("talk", (*texts.IDENTITY, *texts.SMALL_TALK))
    yield from _answers("knowledge", (*texts.PYTHON, *texts.MACHINE))
    yield from _longer_talks()
    for thing in texts.NONSENSE_THINGS:
        for question in texts.NONSENSE_QUESTIONS:
            text = question.format(thing=thing)
            yield text, _said("nonsense", text, texts.NONSENSE_ANSWER)
    yield from _sums()
    yield from _words()
    yield from _orders()


def _answers(kind: Kind, known: Sequence[tuple[Sequence[str], str]]) -> Iterator[tuple[str, Example]]:
    for questions, answer in known:
        for number, question in enumerate(questions):
            # the first wording is always in training: the model cannot know a fact it has never seen
            yield question if number else _train_only(question), _said(kind, question, answer)


def _longer_talks() -> Iterator[tuple[str, Example]]:
    """Two exchanges each: a greeting and a question."""
    greetings, hello = texts.SMALL_TALK[0]
    for questions, answer in (*texts.IDENTITY, *texts.PYTHON, *texts.MACHINE):
        greeting = _pick(greetings, questions[0])
        talk = (
            Message("user", greeting),
            Message("assistant", hello),
            Message("user", questions[0]),
            Message("assistant", answer),
        )
        yield f"{greeting} {questions[0]}", Example("talk", talk, "")


def _sums() -> Iterator[tuple[str, Example]]:
    for sign, word in (("+", "plus"), ("-", "minus"), ("*", "times")):
        for a in range(_LARGEST_MENTAL + 1):
            for b in range(_LARGEST_MENTAL + 1):
                if sign == "-" and b > a:
                    continue
                expression = f"{a} {sign} {b}"
                asked = expression if _hash(expression) % 2 else f"{a} {word} {b}"
                question = _pick(_ARITHMETIC, expression).format(asked)
                result = str(_value(a, sign, b))
                yield expression, Example("arithmetic", _talk(question, f"{expression} = {result}"), result)
    asked_before: set[str] = set()
    for number in range(900):
        a, b = (_LARGEST_MENTAL + 1 + _hash(f"{number} {side}") % (_LARGEST - _LARGEST_MENTAL) for side in "ab")
        sign = "+-*"[_hash(f"{number} sign") % 3]
        if sign == "-" and b > a:
            a, b = b, a
        expression = f"{a} {sign} {b}"
        if expression in asked_before:
            continue
        asked_before.add(expression)
        result = str(_value(a, sign, b))
        parts = (Part("python", expression), Part("python_output", result), Part("text", f"{expression} = {result}"))
        question = _pick(_ARITHMETIC, expression).format(expression)
        yield expression, Example("arithmetic", (Message("user", question), Message("assistant", parts)), result)


def _words() -> Iterator[tuple[str, Example]]:
    for word in texts.WORDS.split():
        spelled = "-".join(word)
        yield word, Example("spelling", _talk(_pick(_SPELL, word).format(word), spelled), spelled)
        count = str(len(word))
        yield word, Example("spelling", _talk(_pick(_LENGTH, word).format(word), f"{spelled}: {count}"), count)
        letter = word[_hash(word) % len(word)]
        times = str(word.count(letter))
        call = (
            Part("python", f"'{word}'.count('{letter}')"),
            Part("python_output", times),
            Part("text", f"{spelled}: {times}"),
        )
        question = _pick(_COUNT, word).format(word, letter)
        yield word, Example("spelling", (Message("user", question), Message("assistant", call)), times)


def _orders() -> Iterator[tuple[str, Example]]:
    for names in (texts.DAYS, texts.MONTHS):
        for place, name in enumerate(names):
            later, earlier = names[(place + 1) % len(names)], names[place - 1]
            yield (
                _train_only(f"after {name}"),
                _said("order", f"What comes after {name}?", f"{later} comes after {name}."),
            )
            yield f"before {name}", _said("order", f"What comes before {name}?", f"{earlier} comes before {name}.")
    for pair in texts.OPPOSITES:
        for one, other in (pair.split(), pair.split()[::-1]):
            yield f"opposite {one}", _said("order", f"What is the opposite of {one}?", f"{other}")
    for number in range(100):
        a, b = _hash(f"{number} x") % 100, _hash(f"{number} y") % 100
        if a != b:
            key = f"larger {a} {b}"
            yield key, _said("order", f"Which is larger, {a} or {b}?", f"{max(a, b)} is larger.")


def _said(kind: Kind, question: str, answer: str) -> Example:
    return Example(kind, _talk(question, answer), "")


def _talk(question: str, answer: str) -> Conversation:
    return (Message("user", question), Message("assistant", answer))


def _value(a: int, sign: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


def _train_only(key: str) -> str:
    """A key like `key` in the training split."""
    while split_of(key, VALIDATION_FRACTION) != "train":
        key += "."
    return key


def _pick(options: Sequence[Item], key: str) -> Item:
    return options[_hash(key) % len(options)]


def _hash(key: str) -> int:
    """A number that is the same on every machine and version, unlike Python's hash and random."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
