"""The corpus: where text comes from, how it is split, and what was left out of it."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

from engine.core.errors import UsageError
from engine.core.progress import Progress, silent
from engine.data.skip_counter import SkipCounter, Skipped

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")

MAX_DOCUMENT_BYTES = 64 * 2**20  # of UTF-8; a larger row is not a document but a mistake


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
        self._tally = SkipCounter()

    @abstractmethod
    def _texts(self, tally: SkipCounter) -> Iterator[str]:
        """All documents of both splits."""

    def documents(self, split: Split) -> Iterator[str]:
        self._tally = SkipCounter()
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
        tally = SkipCounter()
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
    """The split of a document: a hash of its text alone decides, so neither its place nor its neighbors matter."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return "validation" if int.from_bytes(digest, "big") < validation_fraction * 2**64 else "train"


def short_hash(*parts: Any) -> str:
    """Sixteen hex digits of a hash of JSON-able values."""
    content = json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()
    return hashlib.blake2b(content, digest_size=8).hexdigest()
