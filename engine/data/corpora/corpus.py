"""The interface of text sources, the split into train and validation, and hashes for identities."""

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

MAX_DOCUMENT_BYTES = 64 * 2**20  # of UTF-8; a larger row is an error, not a document


class Corpus(ABC):
    """A source of documents in two fixed splits, always in the same order."""

    @abstractmethod
    def identity(self) -> str:
        """A short hash that changes when the text, the split or a setting that affects them changes."""

    @abstractmethod
    def description(self) -> str:
        """A description of the text."""

    @abstractmethod
    def documents(self, split: Split) -> Iterator[str]:
        """The documents of a split: never blank, always valid Unicode. Raises NanosoloError if there are none."""

    @abstractmethod
    def skipped(self) -> tuple[Skipped, ...]:
        """What the latest pass of `documents` has skipped so far, and what `prepare` had to repair."""

    @abstractmethod
    def prepare(self, progress: Progress = silent) -> None:
        """Make the text available locally: download what is missing, check that there is text. Raises NanosoloError."""


class HashSplitCorpus(Corpus):
    """A corpus whose validation split is chosen by a hash of each document's text."""

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
                f"the {split} split is empty: all {others:,} documents of {self.description()} are in the other split. "
                f"Change data.validation_fraction = {self._fraction:g}, or add more documents."
            )
        why = f" Skipped: {self._tally}." if self._tally.skipped() else ""
        return UsageError(f"no usable text in {self.description()}.{why} Set data.paths to files with text.")


def split_of(text: str, validation_fraction: float) -> Split:
    """The split of a document: decided by a hash of its text alone, so its position and neighbors do not matter."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return "validation" if int.from_bytes(digest, "big") < validation_fraction * 2**64 else "train"


def short_hash(*parts: Any) -> str:
    """A hash of values that JSON can encode, as 16 hex digits."""
    content = json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()
    return hashlib.blake2b(content, digest_size=8).hexdigest()
