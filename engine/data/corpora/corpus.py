"""The corpus: where text comes from, how it is split, and what was left out of it."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from engine.core.errors import UsageError
from engine.core.progress import Progress, silent

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")

MAX_DOCUMENT_BYTES = 64 * 2**20  # of UTF-8; a larger row is not a document but a mistake


class Skipped(msgspec.Struct, frozen=True):
    """Documents (or whole files) that were left out for one reason."""

    reason: str
    count: int
    first: str  # the file and row of the first of them


class Tally:
    """Counts what is left out while text is read."""

    def __init__(self) -> None:
        self._counts: dict[str, Skipped] = {}

    def skip(self, reason: str, where: str) -> None:
        """One more is left out for `reason`; `where` names its file and row."""
        seen = self._counts.get(reason)
        self._counts[reason] = Skipped(reason, seen.count + 1, seen.first) if seen else Skipped(reason, 1, where)

    def skipped(self) -> tuple[Skipped, ...]:
        """Everything left out so far, in the order in which the reasons first came up."""
        return tuple(self._counts.values())

    def __str__(self) -> str:
        return "; ".join(f"{s.count:,} {s.reason} (first: {s.first})" for s in self.skipped())


class Corpus(ABC):
    """A source of documents in two fixed splits. Everything comes out in the same order every time."""

    @abstractmethod
    def identity(self) -> str:
        """A short hash that changes when the text, the split or a setting that bears on them changes."""

    @abstractmethod
    def description(self) -> str:
        """What the text is, in words."""

    @abstractmethod
    def documents(self, split: Split) -> Iterator[str]:
        """The documents of a split: never blank, always valid Unicode. Raises NanosoloError when there are none."""

    @abstractmethod
    def skipped(self) -> tuple[Skipped, ...]:
        """What the latest pass of `documents` left out (so far), and what preparing had to mend."""

    @abstractmethod
    def prepare(self, progress: Progress = silent) -> None:
        """Make the text available here, downloading if need be, and see that there is some. Raises NanosoloError."""


class HashSplitCorpus(Corpus):
    """A corpus whose validation split is drawn by a hash of each document's text."""

    def __init__(self, validation_fraction: float) -> None:
        self._fraction = validation_fraction
        self._tally = Tally()

    @abstractmethod
    def _texts(self, tally: Tally) -> Iterator[str]:
        """All documents of both splits."""

    def documents(self, split: Split) -> Iterator[str]:
        self._tally = Tally()
        given = others = 0
        for text in self._texts(self._tally):
            if split_of(text, self._fraction) == split:
                given += 1
                yield text
            else:
                others += 1
        if given == 0:
            raise self._nothing(split, others)

    def skipped(self) -> tuple[Skipped, ...]:
        return self._tally.skipped()

    def prepare(self, progress: Progress = silent) -> None:
        tally = Tally()
        if next(self._texts(tally), None) is None:
            self._tally = tally
            raise self._nothing("train", 0)

    def _nothing(self, split: Split, others: int) -> UsageError:
        if others:
            return UsageError(
                f"the {split} split is empty: all {others:,} documents of {self.description()} are in the other one. "
                f"Change data.validation_fraction = {self._fraction:g}, or give more documents."
            )
        why = f" Left out: {self._tally}." if self._tally.skipped() else ""
        return UsageError(f"no usable text in {self.description()}.{why} Give files with text in data.paths.")


def split_of(text: str, validation_fraction: float) -> Split:
    """The split of a document: a hash of its text alone decides, so neither its place nor its neighbours matter."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return "validation" if int.from_bytes(digest, "big") < validation_fraction * 2**64 else "train"


def short_hash(*parts: Any) -> str:
    """Sixteen hex digits of a hash of JSON-able values."""
    content = json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()
    return hashlib.blake2b(content, digest_size=8).hexdigest()
