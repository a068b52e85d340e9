"""The user's own text: folders, files or globs of .txt, .md, .jsonl and .parquet."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.core.errors import UsageError
from engine.data.corpora.corpus import HashSplitCorpus, short_hash
from engine.data.corpora.readers import SUFFIXES, read_documents
from engine.data.skip_counter import SkipCounter

_FORMAT = 1  # increase when the same files give other documents


class LocalCorpus(HashSplitCorpus):
    """Documents of local files, in the order of their paths, read as a stream."""

    def __init__(self, paths: Sequence[str], text_column: str, validation_fraction: float) -> None:
        super().__init__(validation_fraction)
        self._column = text_column
        self._named = tuple(paths)
        self._files = find_files(paths)
        facts = [(path, path.stat()) for path in self._files]
        self._bytes = sum(fact.st_size for _, fact in facts)
        self._facts = [(str(path), fact.st_size, fact.st_mtime_ns) for path, fact in facts]

    def identity(self) -> str:
        """Made from path, size and modification time of each file: contents may be hundreds of GB and are not read."""
        return short_hash("local", _FORMAT, self._facts, self._column, self._fraction)

    def description(self) -> str:
        count = len(self._files)
        return f"{', '.join(self._named)} ({count:,} file{'s' * (count != 1)}, {self._bytes:,} bytes)"

    def _texts(self, tally: SkipCounter) -> Iterator[str]:
        for path in self._files:
            yield from read_documents(path, self._column, tally)


def find_files(paths: Sequence[str]) -> tuple[Path, ...]:
    """The text files that folders, files and globs match, sorted, without duplicates. Raises UsageError."""
    if not paths:
        raise UsageError('data.paths = []: data.source = "local" needs at least one folder, file or glob of text.')
    found: set[Path] = set()
    for name in paths:
        here = _expand(name)
        for path in here:
            if not os.access(path, os.R_OK):
                raise UsageError(
                    f"data.paths: cannot read {path}. Check its permissions, or remove it from data.paths."
                )
        found.update(here)
    return tuple(sorted(found))


def _expand(name: str) -> list[Path]:
    path = Path(name).expanduser()
    suffixes = ", ".join(SUFFIXES)
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"data.paths: {name} is not one of {suffixes}. Convert it to one of them.")
        return [path.resolve()]
    if path.is_dir():
        found = [file for file in path.rglob("*") if not _hidden(file.relative_to(path))]
    elif glob.has_magic(name):
        found = [Path(match) for match in glob.iglob(str(path), recursive=True)]  # noqa: PTH207 (absolute patterns)
    else:
        raise UsageError(f"data.paths: {name} does not exist. Give a folder, a file or a glob of {suffixes}.")
    files = [file.resolve() for file in found if file.is_file() and file.suffix.lower() in SUFFIXES]
    if not files:
        raise UsageError(f"data.paths: {name} contains no {suffixes}. Give a folder, a file or a glob with text.")
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
