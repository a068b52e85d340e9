"""Chat settings and the /commands that change them: one definition for the CLI and the console."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engine.core.atomic_io import write_atomically
from engine.core.errors import UsageError
from engine.inference.sampling_params import Sampling

MAX_SEED = 2**63 - 1  # the largest integer that all JSON readers accept


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How answers are generated."""

    sampling: Sampling = Sampling(temperature=0.7, top_k=50)
    max_new_tokens: int | None = None  # None: up to the end of the context
    seed: int = 0

    def turn_seed(self, messages: int) -> int:
        """The seed of the answer after a number of messages: differs per turn, reproducible per conversation."""
        return (self.seed * 1_000_003 + messages) % (MAX_SEED + 1)


class Command(NamedTuple):
    """One /command."""

    name: str
    argument: str
    help: str


COMMANDS = (
    Command("new", "", "start a new conversation"),
    Command("system", "TEXT", "instructions that the model gets before the first message; empty: none"),
    Command("temperature", "X", "0: always the most likely token; 1: the model's own distribution"),
    Command("top_k", "N", "sample from the N most likely tokens; `off`: from all"),
    Command("top_p", "X", "sample from the fewest tokens whose probabilities sum to X; `off`: from all"),
    Command("max_tokens", "N", "maximum number of new tokens; `off`: up to the end of the context"),
    Command("seed", "N", "the same seed and messages give the same answers"),
    Command("save", "FILE", "save the conversation as JSONL that can be used as training data"),
    Command("help", "", "show this list"),
    Command("quit", "", "quit the chat"),
)


class _Number(NamedTuple):
    """A setting that is a number."""

    read: Callable[[str], float]
    example: str
    may_be_off: bool


_NUMBERS = {
    "temperature": _Number(float, "0.7", False),
    "top_k": _Number(int, "50", True),
    "top_p": _Number(float, "0.9", True),
    "max_tokens": _Number(int, "200", True),
    "seed": _Number(int, "0", False),
}
NUMBERS = tuple(_NUMBERS)


def read_command(line: str) -> tuple[str, str]:
    """`/top_k 40` -> ("top_k", "40"). Raises UsageError for an unknown command."""
    name, _, value = line.removeprefix("/").strip().partition(" ")
    name = {"exit": "quit"}.get(name, name)
    if name not in [command.name for command in COMMANDS]:
        raise UsageError(f"/{name}: no such command. Type /help for a list.")
    return name, value.strip()


def value_of(settings: Settings, name: str) -> str:
    """A setting as the user types it: `0.7`, `off`."""
    if name == "seed":
        return str(settings.seed)
    value = settings.max_new_tokens if name == "max_tokens" else getattr(settings.sampling, name)
    return "off" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def change(settings: Settings, name: str, text: str) -> Settings:
    """The settings with one of NUMBERS set from text. Raises UsageError with the name, the text and an example."""
    kind = _NUMBERS[name]
    try:
        number: Any = None if text == "off" and kind.may_be_off else kind.read(text)
    except ValueError:
        off = " or off" if kind.may_be_off else ""
        raise UsageError(f"{name} {text}: expected a number{off}, for example {kind.example}") from None
    if name == "max_tokens":
        if number is not None and number < 1:
            raise UsageError(f"max_tokens {number}: expected 1 or more, for example {kind.example}")
        return msgspec.structs.replace(settings, max_new_tokens=number)
    if name == "seed":
        if not 0 <= number <= MAX_SEED:
            raise UsageError(f"seed {number}: expected 0 to {MAX_SEED}, for example {kind.example}")
        return msgspec.structs.replace(settings, seed=number)
    sampling = msgspec.structs.replace(settings.sampling, **{name: number}).check()
    return msgspec.structs.replace(settings, sampling=sampling)


def save_conversations(path: Path, conversations: Sequence[Sequence[Any]]) -> None:
    """Write each list of messages as one line of JSON, usable as training data. Raises NanosoloError."""
    lines = [msgspec.json.encode({"messages": messages}) + b"\n" for messages in conversations]
    write_atomically(path, b"".join(lines))


def file_to_save(name: str) -> Path:
    """The path given to /save. Raises UsageError if there is none."""
    if not name:
        raise UsageError("/save: give a file name, for example /save conversation.jsonl")
    return Path(name).expanduser()
