"""Sources of conversations: built-in ones, local files, and datasets of the Hugging Face hub."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import shared_copies
from engine.core.progress import Progress, silent
from engine.data.chat import builtin_conversations
from engine.data.chat.conversation import Conversation, Malformed, conversation_of
from engine.data.chat.formats import RowFormat, from_arc, from_gsm8k, from_messages, from_mmlu
from engine.data.corpora.corpus import Split, short_hash, split_of
from engine.data.corpora.readers import json_lines
from engine.data.hub import chat_datasets
from engine.data.order import permutation
from engine.data.skip_counter import SkipCounter

_FORMAT = 1  # increase when the same files give other conversations
_ORDER_SEED = 42  # of the shuffle from which a limit takes the first ones


class Dataset(NamedTuple):
    """A dataset of the hub: which files hold which split, and how its rows become conversations."""

    repo: str
    files: Mapping[Split, str]  # patterns
    convert: RowFormat


DATASETS: dict[str, Dataset] = {
    "smoltalk": Dataset(
        "HuggingFaceTB/smol-smoltalk",
        {"train": "data/train-*.parquet", "validation": "data/test-*.parquet"},
        from_messages,
    ),
    "gsm8k": Dataset(
        "openai/gsm8k", {"train": "main/train-*.parquet", "validation": "main/test-*.parquet"}, from_gsm8k
    ),
    "mmlu": Dataset(
        "cais/mmlu", {"train": "auxiliary_train/train-*.parquet", "validation": "all/test-*.parquet"}, from_mmlu
    ),
    "arc-easy": Dataset(
        "allenai/ai2_arc",
        {"train": "ARC-Easy/train-*.parquet", "validation": "ARC-Easy/validation-*.parquet"},
        from_arc,
    ),
    "arc-challenge": Dataset(
        "allenai/ai2_arc",
        {"train": "ARC-Challenge/train-*.parquet", "validation": "ARC-Challenge/validation-*.parquet"},
        from_arc,
    ),
}


class Source(Protocol):
    """Conversations in two splits, always in the same order."""

    def identity(self) -> str:
        """A text that changes when the conversations change."""

    def prepare(self, progress: Progress = silent) -> None:
        """Make them available locally. Raises NanosoloError."""

    def conversations(self, split: Split, tally: SkipCounter) -> Iterator[Conversation]:
        """The conversations of a split; skipped ones are counted in `tally`."""


class Builtin:
    """The conversations that are part of nanosolo."""

    def identity(self) -> str:
        return f"builtin {builtin_conversations.FORMAT}"

    def prepare(self, progress: Progress = silent) -> None:
        pass

    def conversations(self, split: Split, tally: SkipCounter) -> Iterator[Conversation]:
        return (example.conversation for example in builtin_conversations.examples(split))


class LocalFile:
    """A .jsonl file in nanochat's format (per line a list of messages or an object with `messages`), or a .parquet file
    with a column `messages`. A hash of each conversation decides its split."""

    def __init__(self, path: Path, validation_fraction: float) -> None:
        self._path = path
        self._fraction = validation_fraction
        try:
            facts = path.stat()
        except OSError as error:
            raise UsageError(
                f"{path}: {error.strerror}. A source of conversations is builtin, {', '.join(DATASETS)}, hf:OWNER/NAME "
                "or the path of a .jsonl or .parquet file."
            ) from None
        if path.suffix not in (".jsonl", ".parquet"):
            raise UsageError(f"{path} is neither .jsonl nor .parquet. Convert it to one of them.")
        self._facts = (str(path), facts.st_size, facts.st_mtime_ns)

    def identity(self) -> str:
        return short_hash("local conversations", _FORMAT, self._facts, self._fraction)

    def prepare(self, progress: Progress = silent) -> None:
        if next(self._all(SkipCounter()), None) is None:
            raise UsageError(
                f"{self._path} has no conversation. A line is a list of messages like "
                '{"role": "user", "content": "Hi"}, by user and assistant in turn.'
            )

    def conversations(self, split: Split, tally: SkipCounter) -> Iterator[Conversation]:
        return (found for text, found in self._all(tally) if split_of(text, self._fraction) == split)

    def _all(self, tally: SkipCounter) -> Iterator[tuple[str, Conversation]]:
        for where, row in _read(self._path, tally):
            messages = row.get("messages") if isinstance(row, dict) else row
            try:
                if messages is None:
                    raise Malformed("there is no list of messages")
                found = conversation_of(messages)
                text = json.dumps(messages, ensure_ascii=True)
            except (Malformed, TypeError) as error:
                tally.skip(f"conversations: {error}", where)
                continue
            yield text, found


class HubDataset:
    """A dataset of the hub."""

    def __init__(self, dataset: Dataset, data_home: Path, endpoint: str | None = None) -> None:
        self._dataset = dataset
        self._data_home = data_home
        self._endpoint = endpoint

    def identity(self) -> str:
        return short_hash("hub conversations", _FORMAT, self._dataset.repo, sorted(self._dataset.files.items()))

    def prepare(self, progress: Progress = silent) -> None:
        for pattern in self._dataset.files.values():
            self._fetch(pattern, progress)

    def conversations(self, split: Split, tally: SkipCounter) -> Iterator[Conversation]:
        files = self._fetch(self._dataset.files[split], silent)
        for number, row in enumerate(chat_datasets.read_rows(files), 1):
            try:
                yield self._dataset.convert(row)
            except Malformed as error:
                tally.skip(f"conversations: {error}", f"{self._dataset.repo}, {split} row {number}")

    def _fetch(self, pattern: str, progress: Progress) -> list[Path]:
        return chat_datasets.fetch(self._dataset.repo, pattern, self._data_home, progress, self._endpoint)


class HubConversations(HubDataset):
    """Any dataset of the hub with a column `messages`. Without test files, a hash of each conversation decides its
    split, as with local files."""

    def __init__(self, repo: str, data_home: Path, validation_fraction: float, endpoint: str | None = None) -> None:
        files: dict[Split, str] = {"train": "*train*.parquet", "validation": "*test*.parquet"}
        super().__init__(Dataset(repo, files, from_messages), data_home, endpoint)
        self._fraction = validation_fraction

    def identity(self) -> str:
        return short_hash(super().identity(), self._fraction)

    def prepare(self, progress: Progress = silent) -> None:
        self._fetch(self._dataset.files["train"], progress)
        self._has_tests(progress)

    def conversations(self, split: Split, tally: SkipCounter) -> Iterator[Conversation]:
        if self._has_tests(silent):
            yield from super().conversations(split, tally)
            return
        for found in super().conversations("train", tally):
            if split_of(repr(found), self._fraction) == split:
                yield found

    def _has_tests(self, progress: Progress) -> bool:
        pattern = self._dataset.files["validation"]
        folder = chat_datasets.folder_of(self._dataset.repo, self._data_home)
        for place in (*shared_copies(folder), folder):
            if chat_datasets.filled_by_hand(place):
                return chat_datasets.local_files(place, pattern) is not None
        try:
            self._fetch(pattern, progress)
        except chat_datasets.NoSuchFiles:
            return False
        return True


class Limited:
    """At most `limit` training conversations of a source, sampled evenly; its validation split is complete."""

    def __init__(self, source: Source, limit: int) -> None:
        self._source = source
        self._limit = limit

    def identity(self) -> str:
        return f"{self._source.identity()} {self._limit}"

    def prepare(self, progress: Progress = silent) -> None:
        self._source.prepare(progress)

    def conversations(self, split: Split, tally: SkipCounter) -> Iterator[Conversation]:
        if split != "train":
            return self._source.conversations(split, tally)
        count = sum(1 for _ in self._source.conversations(split, SkipCounter()))
        chosen = set(permutation(count, _ORDER_SEED, 0)[: self._limit].tolist())
        return (c for number, c in enumerate(self._source.conversations(split, tally)) if number in chosen)


class Mixture:
    """Several sources in sequence. Name a source twice to use it twice, as a weight."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def identity(self) -> str:
        return short_hash("mixture", [source.identity() for source in self._sources])

    def prepare(self, progress: Progress = silent) -> None:
        for source in self._sources:
            source.prepare(progress)

    def conversations(self, split: Split, tally: SkipCounter) -> Iterator[Conversation]:
        seen: set[str] = set()
        for source in self._sources:
            if split == "validation" and source.identity() in seen:
                continue
            seen.add(source.identity())
            yield from source.conversations(split, tally)


def open_sources(names: Sequence[str], data_home: Path, validation_fraction: float) -> Mixture:
    """The mixture that a configuration names. Raises UsageError for an unknown name."""
    return Mixture([_open(name, data_home, validation_fraction) for name in names])


def _open(name: str, data_home: Path, validation_fraction: float) -> Source:
    """`NAME` or `NAME:LIMIT`; NAME is builtin, one of DATASETS, hf:OWNER/NAME, or a path."""
    limited = re.fullmatch(r"(.+):(\d+)", name)
    if limited:
        return Limited(_open(limited[1], data_home, validation_fraction), int(limited[2]))
    if name == "builtin":
        return Builtin()
    if name in DATASETS:
        return HubDataset(DATASETS[name], data_home)
    if repo := re.fullmatch(r"hf:([\w.-]+/[\w.-]+)", name):
        return HubConversations(repo[1], data_home, validation_fraction)
    return LocalFile(Path(name).expanduser(), validation_fraction)


def _read(path: Path, tally: SkipCounter) -> Iterator[tuple[str, Any]]:
    """(file and line, value) of the rows of a .parquet or .jsonl file; lines that are not JSON are counted."""
    if path.suffix == ".parquet":
        yield from ((f"{path}:{number}", row) for number, row in enumerate(chat_datasets.read_rows([path]), 1))
        return
    try:
        yield from json_lines(path, tally)
    except OSError as error:
        raise NanosoloError(f"cannot read {path}: {error.strerror}. Check its permissions.") from None
