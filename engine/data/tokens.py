"""The tokenized corpus on disk: memory-mapped uint16 files with an index, written completely or not at all."""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from engine.core.atomic_io import NOT_JSON, cannot_write, sync_directory, write_atomically
from engine.core.checksum import fingerprint_of
from engine.core.errors import NanosoloError
from engine.core.file_lock import exclusive
from engine.core.progress import Progress, Reporter, silent
from engine.data.corpora.corpus import SPLITS, Corpus, Split
from engine.data.shared import from_shared
from engine.data.skip_counter import Skipped
from engine.data.token_writer import DTYPE, FILE_NAME, TokenFile, TokenWriter
from engine.data.tokenizer import Tokenizer

INDEX_NAME = "index.json"
TOKENS_PER_FILE = 100_000_000
_FORMAT = 2
_AGAIN = "Run the tokenize stage again."
_BATCH_CHARS = 2_000_000  # of text, encoded together


class SplitIndex(msgspec.Struct, frozen=True):
    """The contents of a split."""

    files: tuple[TokenFile, ...]
    tokens: int  # beginning-of-document tokens included
    documents: int
    text_bytes: int  # of UTF-8
    complete: bool  # all of the corpus' split, not only the requested number of tokens
    skipped: tuple[Skipped, ...]  # while this split was read


class TokenIndex(msgspec.Struct, frozen=True):
    """The contents of index.json."""

    format: int
    tokenizer: str  # identity
    corpus: str  # identity
    description: str  # of the corpus, in words
    vocab_size: int
    splits: dict[Split, SplitIndex]


class TokenSet:
    """Two streams of tokens, train and validation; each document is preceded by the beginning-of-document token."""

    def __init__(self, directory: Path, index: TokenIndex) -> None:
        self.directory = directory
        self.index = index
        self._maps: dict[Split, list[np.ndarray]] = {}

    def tokens(self, split: Split) -> int:
        """The number of tokens of a split."""
        return self.index.splits[split].tokens

    def read(self, split: Split, start: int, count: int) -> np.ndarray:
        """Tokens [start, start + count) of a split as uint16 (count,), across files. Raises IndexError past the end."""
        if start < 0 or start + count > self.tokens(split):
            raise IndexError(f"tokens {start} to {start + count} of {self.tokens(split)}")
        parts = []
        begin = 0
        for file in self._open(split):
            if begin < start + count and start < begin + len(file):
                parts.append(file[max(0, start - begin) : start + count - begin])
            begin += len(file)
        if len(parts) == 1:
            return np.asarray(parts[0])
        return np.concatenate(parts) if parts else np.empty(0, DTYPE)

    def verify(self) -> None:
        """Compare every file with its fingerprint. Raises NanosoloError, which names the first that differs."""
        for held in self.index.splits.values():
            for file in held.files:
                path = self.directory / file.name
                try:
                    same = fingerprint_of(path)[1] == file.hash
                except OSError as error:
                    raise NanosoloError(f"cannot read {path}: {error.strerror}. {_AGAIN}") from None
                if not same:
                    raise NanosoloError(f"{path} is damaged: its contents changed. {_AGAIN}")

    def _open(self, split: Split) -> list[np.ndarray]:
        if split not in self._maps:
            files = self.index.splits[split].files
            self._maps[split] = [np.memmap(self.directory / file.name, DTYPE, mode="r") for file in files]
        return self._maps[split]


def open_tokens(directory: Path) -> TokenSet:
    """Open a set that `tokenize` wrote. Raises NanosoloError if it is missing or incomplete."""
    path = directory / INDEX_NAME
    try:
        index = msgspec.json.decode(path.read_bytes(), type=TokenIndex)
    except OSError as error:
        raise NanosoloError(f"no tokens at {path}: {error.strerror or error}. {_AGAIN}") from None
    except NOT_JSON as error:
        raise NanosoloError(f"{path} is not a token index: {error}. {_AGAIN}") from None
    if index.format != _FORMAT or set(index.splits) != set(SPLITS):
        raise NanosoloError(f"{path} has format {index.format}, this version reads {_FORMAT}. {_AGAIN}")
    for held in index.splits.values():
        if sum(file.tokens for file in held.files) != held.tokens:
            raise NanosoloError(f"{path} is damaged: its token counts do not add up. {_AGAIN}")
        for file in held.files:
            if not FILE_NAME.fullmatch(file.name) or file.tokens < 1:  # it must not point outside the folder
                raise NanosoloError(f"{path} is damaged: it names {file.name!r} with {file.tokens} tokens. {_AGAIN}")
            here = directory / file.name
            size = here.stat().st_size if here.is_file() else 0
            if size != file.tokens * DTYPE.itemsize:
                wanted = file.tokens * DTYPE.itemsize
                raise NanosoloError(f"{here} is damaged: {size:,} bytes instead of {wanted:,}. {_AGAIN}")
    return TokenSet(directory, index)


def tokenize(
    corpus: Corpus,
    tokenizer: Tokenizer,
    directory: Path,
    progress: Progress = silent,
    max_train_tokens: int | None = None,
    max_validation_tokens: int | None = None,
    tokens_per_file: int = TOKENS_PER_FILE,
) -> TokenSet:
    """Tokenize a prepared corpus into `directory`, or open an existing set that satisfies this request: first in a
    shared cache (nothing is written there, not even a lock), then in `directory`.

    A split ends with the document that reaches its maximum. The set is written to a temporary folder and renamed when
    complete, so that an interruption or an error leaves the previous set. Raises NanosoloError.
    """
    limits: dict[Split, int | None] = {"train": max_train_tokens, "validation": max_validation_tokens}
    shared = from_shared(directory, lambda copy: _open_for(copy, corpus, tokenizer, limits))
    if shared is not None:
        return shared
    partial = directory.with_name(directory.name + ".partial")
    try:
        with exclusive(directory.with_name(directory.name + ".lock"), progress, "tokens"):
            ready = _reusable(directory, corpus, tokenizer, limits)
            if ready is not None:
                return ready
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                _write(partial, corpus, tokenizer, limits, progress, tokens_per_file)
                _replace(directory, partial)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise cannot_write(directory, error, DTYPE.itemsize * sum(limit or 0 for limit in limits.values())) from None
    return open_tokens(directory)


def _reusable(
    directory: Path, corpus: Corpus, tokenizer: Tokenizer, limits: dict[Split, int | None]
) -> TokenSet | None:
    try:
        return _open_for(directory, corpus, tokenizer, limits)
    except NanosoloError:
        return None


def _open_for(directory: Path, corpus: Corpus, tokenizer: Tokenizer, limits: dict[Split, int | None]) -> TokenSet:
    """The set in a folder, verified. Raises NanosoloError if it does not satisfy the request."""
    found = open_verified(directory, corpus.identity(), tokenizer.identity())
    for split, limit in limits.items():
        held = found.index.splits[split]
        if not held.complete and (limit is None or held.tokens < limit):
            raise NanosoloError(f"{directory} has only a part of the {split} split. {_AGAIN}")
    return found


def open_verified(directory: Path, corpus: str, tokenizer: str) -> TokenSet:
    """The set of this corpus and tokenizer (identities) in a folder, every byte verified. Raises NanosoloError."""
    found = open_tokens(directory)
    if (found.index.corpus, found.index.tokenizer) != (corpus, tokenizer):
        raise NanosoloError(f"{directory} has tokens of another corpus or tokenizer. {_AGAIN}")
    found.verify()
    return found


def _write(
    directory: Path,
    corpus: Corpus,
    tokenizer: Tokenizer,
    limits: dict[Split, int | None],
    progress: Progress,
    tokens_per_file: int,
) -> None:
    train, validation = limits["train"], limits["validation"]
    total = train + validation if train is not None and validation is not None else 0
    reporter = Reporter(progress, total, "tokens")
    splits: dict[Split, SplitIndex] = {}
    for split in SPLITS:
        with TokenWriter(directory, split, tokens_per_file, limits[split]) as writer:
            splits[split] = _write_split(writer, corpus, tokenizer, split, reporter)
    reporter.finish()
    index = TokenIndex(
        format=_FORMAT,
        tokenizer=tokenizer.identity(),
        corpus=corpus.identity(),
        description=corpus.description(),
        vocab_size=tokenizer.vocab_size,
        splits=splits,
    )
    write_atomically(directory / INDEX_NAME, msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n")


def _write_split(
    writer: TokenWriter, corpus: Corpus, tokenizer: Tokenizer, split: Split, reporter: Reporter
) -> SplitIndex:
    documents = text_bytes = 0
    complete = True
    bos = np.array([tokenizer.bos_id], DTYPE)
    for batch in _batches(corpus.documents(split)):
        for text, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            if writer.full():
                complete = False
                break
            writer.write(bos)
            writer.write(ids)
            documents += 1
            text_bytes += len(text.encode("utf-8"))
            reporter.advance(len(ids) + 1)
        if not complete:
            break
    return SplitIndex(writer.finish(), writer.tokens, documents, text_bytes, complete, corpus.skipped())


def _batches(documents: Iterator[str]) -> Iterator[list[str]]:
    """Documents in groups of about two million characters."""
    while batch := list(islice(documents, 1)):
        length = len(batch[0])
        while length < _BATCH_CHARS and (more := list(islice(documents, 1))):
            batch += more
            length += len(more[0])
        yield batch


def _replace(directory: Path, new: Path) -> None:
    """Replace `directory` with the folder `new`."""
    sync_directory(new)
    old = directory.with_name(directory.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    new.rename(directory)
    sync_directory(directory.parent)
    shutil.rmtree(old, ignore_errors=True)
