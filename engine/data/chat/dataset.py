"""Tokenized conversations on disk, and the packed rows made from them."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import torch

from engine.core.atomic_io import NOT_JSON, cannot_write, flush_to_disk, sync_directory, write_atomically
from engine.core.checksum import fingerprint_of
from engine.core.errors import NanosoloError, UsageError
from engine.core.file_lock import exclusive
from engine.core.progress import Progress, Reporter, silent
from engine.data.chat.conversation import Conversation, render
from engine.data.chat.packing import pack
from engine.data.corpora.corpus import SPLITS, Split
from engine.data.shared import from_shared
from engine.data.tokenizer import Tokenizer
from engine.model.loss import IGNORED

INDEX_NAME = "index.json"
_FORMAT = 2


class SetIndex(msgspec.Struct, frozen=True):
    """The contents of a set by split."""

    format: int
    identity: str  # of sources and tokenizer
    conversations: dict[Split, int]
    tokens: dict[Split, int]
    hashes: dict[str, str]  # of the files, by name


class ConversationSet:
    """Conversations of two splits as tokens, with the trained ones marked. Memory-mapped."""

    def __init__(self, directory: Path, index: SetIndex) -> None:
        self.directory = directory
        self.index = index

    def arrays(self, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(tokens uint16 (N,), trained bool (N,), ends int64 (C,)): conversation c is tokens[ends[c - 1] : ends[c]]."""
        tokens, trained, ends = (np.load(self.directory / name, mmap_mode="r") for name in _names(split))
        return tokens, trained, ends


_ARRAYS = ("tokens", "trained", "ends")


def _names(split: Split) -> list[str]:
    """The files of a split, in the order of _ARRAYS."""
    return [f"{split}.{what}.npy" for what in _ARRAYS]


def open_set(directory: Path, identity: str) -> ConversationSet | None:
    """The set in a folder; None if it is incomplete or not the requested one."""
    try:
        index = msgspec.json.decode((directory / INDEX_NAME).read_bytes(), type=SetIndex)
        found = ConversationSet(directory, index)
        whole = all(len(found.arrays(split)[2]) == index.conversations[split] for split in SPLITS)
        whole = whole and all(
            fingerprint_of(directory / name)[1] == index.hashes[name] for split in SPLITS for name in _names(split)
        )
    except (OSError, ValueError, KeyError, *NOT_JSON):
        return None
    return found if (index.format, index.identity) == (_FORMAT, identity) and whole else None


def write_set(
    directory: Path,
    identity: str,
    conversations: dict[Split, Iterable[Conversation]],
    tokenizer: Tokenizer,
    progress: Progress = silent,
) -> ConversationSet:
    """Render conversations into a folder, or open the set of a shared cache or the folder. Raises NanosoloError."""
    shared = from_shared(directory, lambda copy: _open_shared(copy, identity))
    if shared is not None:
        return shared
    partial = directory.with_name(directory.name + ".partial")
    try:
        with exclusive(directory.with_name(directory.name + ".lock"), progress, "conversations"):
            ready = open_set(directory, identity)
            if ready is not None:
                return ready
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                _write(partial, identity, conversations, tokenizer, progress)
                shutil.rmtree(directory, ignore_errors=True)
                partial.rename(directory)
            finally:  # while the lock is held: without it, another process may be writing there
                shutil.rmtree(partial, ignore_errors=True)
            sync_directory(directory.parent)
    except OSError as error:
        raise cannot_write(directory, error, 0) from None
    written = open_set(directory, identity)
    if written is None:
        raise NanosoloError(f"{directory} could not be read back. Check the disk, then run again.")
    return written


def _open_shared(directory: Path, identity: str) -> ConversationSet:
    found = open_set(directory, identity)
    if found is None:
        raise NanosoloError("it is incomplete, damaged or of another version")
    return found


def _write(
    directory: Path,
    identity: str,
    conversations: dict[Split, Iterable[Conversation]],
    tokenizer: Tokenizer,
    progress: Progress,
) -> None:
    reporter = Reporter(progress, 0, "conversations")
    counts: dict[Split, int] = {}
    tokens: dict[Split, int] = {}
    for split in SPLITS:
        counts[split], tokens[split] = _write_split(directory, split, conversations[split], tokenizer, reporter)
    reporter.finish()
    hashes = {name: fingerprint_of(directory / name)[1] for split in SPLITS for name in _names(split)}
    index = SetIndex(_FORMAT, identity, counts, tokens, hashes)
    write_atomically(directory / INDEX_NAME, msgspec.json.encode(index))


def _write_split(
    directory: Path, split: Split, conversations: Iterable[Conversation], tokenizer: Tokenizer, reporter: Reporter
) -> tuple[int, int]:
    """(conversations, tokens) written."""
    ids: list[np.ndarray] = [np.empty(0, np.uint16)]
    trained: list[np.ndarray] = [np.empty(0, bool)]
    for conversation in conversations:
        rendered = render(conversation, tokenizer)
        ids.append(rendered.ids)
        trained.append(rendered.trained)
        reporter.advance(1)
    ends = np.cumsum([len(part) for part in ids[1:]], dtype=np.int64)
    for name, array in zip(_names(split), (np.concatenate(ids), np.concatenate(trained), ends), strict=True):
        with (directory / name).open("wb", buffering=0) as file:
            np.save(file, array)
            flush_to_disk(file.fileno())
    return len(ends), int(ends[-1]) if len(ends) else 0


class PackedRows:
    """A split's conversations as rows of `seq_len` tokens with targets: a row source of the loader.

    A conversation of n tokens takes n - 1 positions: each token but the last as input, its successor as target if that
    is trained on, else -1. One that is longer than a row is truncated (`cut` counts them); one without a trained token
    in the rest is dropped (`dropped`). So every row has a target that counts.
    """

    def __init__(self, conversations: ConversationSet, split: Split, seq_len: int, pad_id: int) -> None:
        """Raises UsageError if the split has nothing to train on."""
        self._tokens, self._trained, ends = conversations.arrays(split)
        self._split = split
        self._seq_len = seq_len
        self._pad_id = pad_id
        self._begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
        whole = ends - self._begins - 1
        kept = np.minimum(whole, seq_len)
        counts = self._trained_counts(kept)
        usable = np.flatnonzero(counts > 0)
        self.cut = int(((whole > seq_len) & (counts > 0)).sum())
        self.dropped = len(ends) - len(usable)
        self.conversations = len(usable)
        self.trained_tokens = int(counts.sum())
        packed = pack(kept[usable].tolist(), seq_len)
        self._rows = [[(int(usable[i]), int(kept[usable[i]])) for i in row] for row in packed]
        self.rows = len(self._rows)
        self.padding = 1 - int(kept[usable].sum()) / (self.rows * seq_len) if self.rows else 0.0
        if not len(ends):
            raise UsageError(f"the {split} split has no conversation. Add more conversations.")
        if not self.rows:
            raise UsageError(
                f"no conversation of the {split} split has an answer within its first {seq_len} tokens. "
                "Use shorter conversations, or raise model.max_seq_len."
            )

    def gather(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(tokens, targets), each (len(rows), T) int64; padding is <|bos|> with targets of -1."""
        tokens = np.full((len(rows), self._seq_len), self._pad_id, np.int64)
        targets = np.full((len(rows), self._seq_len), IGNORED, np.int64)
        for place, row in enumerate(rows):
            at = 0
            for conversation, length in self._rows[row]:
                begin = self._begins[conversation]
                tokens[place, at : at + length] = self._tokens[begin : begin + length]
                following = slice(begin + 1, begin + length + 1)
                targets[place, at : at + length] = np.where(
                    self._trained[following], self._tokens[following].astype(np.int64), IGNORED
                )
                at += length
        return torch.from_numpy(tokens), torch.from_numpy(targets)

    def describe(self) -> str:
        return (
            f"the {self._split} split has {self.conversations:,} conversations ({self.rows:,} rows of {self._seq_len})"
        )

    def _trained_counts(self, kept: np.ndarray) -> np.ndarray:
        """The number of targets that count per conversation if `kept` of its positions are used."""
        firsts = self._begins + 1
        return np.array(
            [
                np.count_nonzero(self._trained[first : first + count])
                for first, count in zip(firsts.tolist(), kept.tolist(), strict=True)
            ],
            np.int64,
        )
