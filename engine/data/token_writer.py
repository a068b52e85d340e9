"""Writes the tokens of one split to files that get their names only when complete."""

import re
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from engine.core.atomic_io import cannot_write, flush_to_disk
from engine.core.checksum import fingerprint
from engine.core.errors import NanosoloError
from engine.data.corpora.corpus import Split

FILE_NAME = re.compile(r"(train|validation)_[0-9]{5,}\.bin")  # of a file of tokens
DTYPE = np.dtype("<u2")  # of a token on disk

_BUFFER_BYTES = 2**20


class TokenFile(msgspec.Struct, frozen=True):
    """One file of tokens."""

    name: str
    tokens: int
    hash: str  # engine.core.checksum's, in hexadecimal


class TokenWriter:
    """Writes one split's tokens into numbered files, each flushed to the disk before it gets its name."""

    def __init__(self, directory: Path, split: Split, tokens_per_file: int, limit: int | None) -> None:
        self.tokens = 0
        self._directory = directory
        self._split = split
        self._per_file = tokens_per_file
        self._limit = limit
        self._files: list[TokenFile] = []
        self._file: BinaryIO | None = None
        self._in_file = 0
        self._digest = fingerprint()

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk also refuses the rest of the buffer
                self._file.close()

    def full(self) -> bool:
        """Whether the requested number of tokens is written."""
        return self._limit is not None and self.tokens >= self._limit

    def write(self, ids: np.ndarray) -> None:
        """Append ids, uint16 (n,). Raises NanosoloError, which names the file, if the write fails."""
        while len(ids):
            room = self._per_file - self._in_file
            part, ids = ids[:room], ids[room:]
            try:
                if self._file is None:
                    self._file = self._path(".tmp").open("wb", buffering=_BUFFER_BYTES)
                content = part.astype(DTYPE, copy=False).tobytes()
                self._file.write(content)
            except OSError as error:
                raise self._failed(error) from None
            self._digest.update(content)
            self._in_file += len(part)
            self.tokens += len(part)
            if self._in_file == self._per_file:
                self._close_file()

    def finish(self) -> tuple[TokenFile, ...]:
        """Complete the last file. Returns all files in order."""
        if self._file is not None:
            self._close_file()
        return tuple(self._files)

    def _close_file(self) -> None:
        assert self._file is not None
        path = self._path("")
        try:
            with self._file as file:
                file.flush()
                flush_to_disk(file.fileno())
            self._path(".tmp").replace(path)
        except OSError as error:
            raise self._failed(error) from None
        self._file = None
        self._files.append(TokenFile(path.name, self._in_file, self._digest.hexdigest()))
        self._in_file = 0
        self._digest = fingerprint()

    def _path(self, suffix: str) -> Path:
        return self._directory / f"{self._split}_{len(self._files):05d}.bin{suffix}"

    def _failed(self, error: OSError) -> NanosoloError:
        needed = max(self._limit or 0, self.tokens, self._per_file if self._limit is None else 0) * DTYPE.itemsize
        return cannot_write(self._path(""), error, needed)
