"""Parquet files of chat datasets on the Hugging Face hub: downloaded once, then read from a local folder."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from engine.core.atomic_io import write_atomically
from engine.core.errors import NanosoloError
from engine.core.file_lock import exclusive
from engine.core.progress import Progress, silent
from engine.data.hub.download import Hub
from engine.data.hub.shards import ShardStore
from engine.data.shared import from_shared
from engine.data.skip_counter import SkipCounter

LISTING = "files.json"  # the dataset's files as listed by the hub: complete local copies need no network
_ROWS_PER_BATCH = 1024


class NoSuchFiles(NanosoloError):
    """A dataset has no files that match a pattern."""

    def __init__(self, repo: str, pattern: str) -> None:
        super().__init__(
            f"the dataset {repo} has no files {pattern}. Remove it from the configuration, or use a local file."
        )


def fetch(
    repo: str, pattern: str, data_home: Path, progress: Progress = silent, endpoint: str | None = None
) -> list[Path]:
    """The dataset's files whose names match, in order: from a shared cache or the data home, downloaded if missing.

    Raises NoSuchFiles or NanosoloError. A folder with matching files but no listing was filled by hand and is used
    without checks.
    """
    folder = folder_of(repo, data_home)
    shared = from_shared(folder, lambda copy: _shared_files(copy, pattern))
    if shared is not None:
        if not shared:
            raise NoSuchFiles(repo, pattern)
        return shared
    here = local_files(folder, pattern)
    if here is not None:
        return here
    with exclusive(folder / ".lock", progress, "bytes"):
        here = local_files(folder, pattern)
        if here is not None:
            return here
        hub = Hub(repo, endpoint)
        listed = hub.list_files()
        names = _matching(listed, pattern)
        if not names:
            raise NoSuchFiles(repo, pattern)
        # before the files: so an interrupted download is not taken for a complete folder
        write_atomically(folder / LISTING, msgspec.json.encode(listed))
        hub.download(names, ShardStore(folder, SkipCounter()), progress)
    return [folder / name for name in names]


def folder_of(repo: str, data_home: Path) -> Path:
    """The local folder of a dataset."""
    return data_home / "hub" / repo


def local_files(folder: Path, pattern: str) -> list[Path] | None:
    """The local files that match, if all of them are present; None otherwise. Raises NoSuchFiles if the saved listing
    of the hub has no match."""
    try:
        listed = msgspec.json.decode((folder / LISTING).read_bytes(), type=list[str])
    except OSError:
        listed = None
    if listed is None:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        return found or None
    wanted = [folder / name for name in _matching(listed, pattern)]
    if not wanted:
        raise NoSuchFiles(folder.relative_to(folder.parents[1]).as_posix(), pattern)
    return wanted if all(path.is_file() for path in wanted) else None


def _shared_files(folder: Path, pattern: str) -> list[Path]:
    """All files that match in a folder of a shared cache; empty if its listing has no match. Raises NanosoloError if a
    file is missing or not valid."""
    try:
        files = local_files(folder, pattern)
    except NoSuchFiles:
        return []
    if files is None:
        raise NanosoloError(f"some files of {pattern} are missing")
    if (folder / LISTING).exists():
        store = ShardStore(folder, SkipCounter())
        for path in files:
            fault = store.fault(path.relative_to(folder).as_posix())
            if fault is not None:
                raise NanosoloError(f"{path.name}: {fault}")
    return files


def filled_by_hand(folder: Path) -> bool:
    """Whether the user put the files here, so that the hub is not needed."""
    return not (folder / LISTING).exists() and next(folder.rglob("*.parquet"), None) is not None


def count_rows(files: list[Path]) -> int:
    """The number of rows in parquet files, from their footers. Raises NanosoloError for a damaged file."""
    import pyarrow.parquet as pq

    return sum(_safely(path, lambda path=path: pq.ParquetFile(path).metadata.num_rows) for path in files)


def read_rows(files: list[Path]) -> Iterator[dict[str, Any]]:
    """The rows of parquet files in order; a row whose text is not UTF-8 is yielded empty. Raises NanosoloError for a
    damaged file."""
    import pyarrow.parquet as pq

    for path in files:
        with _safely(path, lambda path=path: pq.ParquetFile(path)) as opened:
            batches = opened.iter_batches(batch_size=_ROWS_PER_BATCH)
            while (batch := _safely(path, lambda batches=batches: next(batches, None))) is not None:
                yield from _decoded(batch)


def _decoded(batch: Any) -> Iterator[dict[str, Any]]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            yield {}
            return
        for number in range(batch.num_rows):
            yield from _decoded(batch.slice(number, 1))


def _safely(path: Path, action: Any) -> Any:
    import pyarrow as pa

    try:
        return action()
    except (pa.ArrowException, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise NanosoloError(
            f"{path} cannot be read: {first}. Delete it, then run again to download it again."
        ) from None


def _matching(names: list[str], pattern: str) -> list[str]:
    return sorted(name for name in names if fnmatchcase(name, pattern))
