"""Parquet files of datasets on the Hugging Face hub, fetched once into a folder here and read from there."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from engine.core.atomic_io import write_atomically
from engine.core.errors import NanosoloError
from engine.core.file_lock import exclusive
from engine.core.progress import Progress, silent
from engine.data.hub.shards import Hub, ShardStore, patiently
from engine.data.shared import from_shared
from engine.data.skip_counter import SkipCounter

LISTING = "files.json"  # the dataset's files as the hub listed them, so that what is here needs no network
_BACKOFF_SECONDS = 1.0
_ROWS_AT_ONCE = 1024


class NoSuchFiles(NanosoloError):
    """A dataset has no files of that name."""

    def __init__(self, repo: str, pattern: str) -> None:
        super().__init__(f"the dataset {repo} has no files {pattern}. Leave it out, or give a file of your own.")


def fetch(
    repo: str, pattern: str, data_home: Path, progress: Progress = silent, endpoint: str | None = None
) -> list[Path]:
    """The dataset's files whose names match, in order: from a shared cache, or here, downloaded and checked if need be.

    Raises NoSuchFiles, or NanosoloError. A folder that holds matching files but no listing was filled by hand, and is
    taken as it is.
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
        listed = patiently(f"the list of {repo}", partial(_list, repo, endpoint), _BACKOFF_SECONDS)
        names = _matching(listed, pattern)
        if not names:
            raise NoSuchFiles(repo, pattern)
        # before the files: those of a fetch that was interrupted are not taken for all
        write_atomically(folder / LISTING, msgspec.json.encode(listed))
        facts = patiently(f"the list of {repo}", lambda: hub.facts(names), _BACKOFF_SECONDS)
        store = ShardStore(folder, SkipCounter())
        store.require_room(facts.values())
        total = sum(fact.size for fact in facts.values())
        done = 0
        for name in names:
            patiently(f"{repo}/{name}", partial(store.fetch, hub, facts[name]), _BACKOFF_SECONDS)
            done += facts[name].size
            progress(done, total, "bytes")
    return [folder / name for name in names]


def folder_of(repo: str, data_home: Path) -> Path:
    """Where the files of a dataset lie, or go."""
    return data_home / "hub" / repo


def local_files(folder: Path, pattern: str) -> list[Path] | None:
    """What is here of the dataset, when it is all that matches; else None. Raises NoSuchFiles where the
    hub's listing, kept here, says that there are none."""
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
    """All files that match in a folder of a shared cache; empty where its listing of the dataset has none. Raises
    NanosoloError where one is missing or not whole."""
    try:
        files = local_files(folder, pattern)
    except NoSuchFiles:
        return []
    if files is None:
        raise NanosoloError(f"not all of {pattern} is there")
    if (folder / LISTING).exists():
        store = ShardStore(folder, SkipCounter())
        for path in files:
            fault = store.fault(path.relative_to(folder).as_posix())
            if fault is not None:
                raise NanosoloError(f"{path.name}: {fault}")
    return files


def filled_by_hand(folder: Path) -> bool:
    """Whether the files here are not from the hub, which then need not be asked."""
    return not (folder / LISTING).exists() and next(folder.rglob("*.parquet"), None) is not None


def count_rows(files: list[Path]) -> int:
    """How many rows parquet files have, from their footers. Raises NanosoloError for a damaged one."""
    import pyarrow.parquet as pq

    return sum(_safely(path, lambda path=path: pq.ParquetFile(path).metadata.num_rows) for path in files)


def read_rows(files: list[Path]) -> Iterator[dict[str, Any]]:
    """The rows of parquet files in order; one whose text is not UTF-8 comes as an empty one. Raises NanosoloError for a
    damaged file."""
    import pyarrow.parquet as pq

    for path in files:
        with _safely(path, lambda path=path: pq.ParquetFile(path)) as opened:
            batches = opened.iter_batches(batch_size=_ROWS_AT_ONCE)
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
        raise NanosoloError(f"{path} cannot be read: {first}. Remove it, and run again to download it again.") from None


def _list(repo: str, endpoint: str | None) -> list[str]:
    from huggingface_hub import HfApi

    return sorted(HfApi(endpoint=endpoint).list_repo_files(repo, repo_type="dataset"))


def _matching(names: list[str], pattern: str) -> list[str]:
    return sorted(name for name in names if fnmatchcase(name, pattern))
