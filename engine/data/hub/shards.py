"""Parquet shards of a dataset on the Hugging Face hub, and their whole, checked copies in a folder here."""

import errno
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.core.atomic_io import FULL_DISK, NOT_JSON, cannot_write, write_atomically
from engine.core.errors import NanosoloError
from engine.core.paths import shared_copies
from engine.data.shared import note_ignored
from engine.data.skip_counter import SkipCounter

Result = TypeVar("Result")

MANIFEST_NAME = "shards.json"
ATTEMPTS = 4
_PATHS_AT_ONCE = 500
_NOT_THE_NETWORK = {*FULL_DISK, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR}
_UNDER_WAY = ".cache/huggingface/download"  # where huggingface_hub keeps unfinished files of a folder


class ShardFacts(msgspec.Struct, frozen=True):
    """What the hub says of a file."""

    name: str
    size: int  # bytes
    sha256: str | None


class _Record(msgspec.Struct, frozen=True):
    """A file here that was found whole, as it was then."""

    size: int
    mtime_ns: int
    sha256: str


class _Damaged(Exception):
    """A file arrived that is not what the hub says."""


class Hub:
    """One dataset on the hub. `endpoint`: its address (default: that of huggingface_hub, which HF_ENDPOINT sets)."""

    def __init__(self, repo: str, endpoint: str | None) -> None:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        self._repo = repo
        self._endpoint = endpoint

    def facts(self, names: Sequence[str]) -> dict[str, ShardFacts]:
        """Sizes and checksums by name. Raises NanosoloError naming a file that the dataset lacks."""
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        api = HfApi(endpoint=self._endpoint)
        found: dict[str, ShardFacts] = {}
        for start in range(0, len(names), _PATHS_AT_ONCE):
            some = list(names[start : start + _PATHS_AT_ONCE])
            for info in api.get_paths_info(self._repo, some, repo_type="dataset"):
                if isinstance(info, RepoFile):
                    found[info.path] = ShardFacts(info.path, info.size, info.lfs.sha256 if info.lfs else None)
        lacking = next((name for name in names if name not in found), None)
        if lacking is not None:
            raise NanosoloError(f"the dataset {self._repo} has no {lacking}. Train on fewer tokens, or use other data.")
        return found

    def download(self, name: str, directory: Path) -> None:
        """Fetch a file into a folder; an interrupted transfer goes on where it stopped."""
        from huggingface_hub import hf_hub_download

        hf_hub_download(self._repo, name, repo_type="dataset", local_dir=directory, endpoint=self._endpoint)


class ShardStore:
    """A folder of shards with a record of those that were checked, so that each is hashed once."""

    def __init__(self, directory: Path, mended: SkipCounter) -> None:
        self._directory = directory
        self._mended = mended  # counts damaged files that were fetched anew
        self._lock = threading.Lock()
        try:
            content = (directory / MANIFEST_NAME).read_bytes()
            self._records = msgspec.json.decode(content, type=dict[str, _Record])
        except (OSError, *NOT_JSON):
            self._records = {}  # every file will be checked again

    def is_whole(self, name: str) -> bool:
        """Whether the file is here, unchanged since it was checked, and opens."""
        return self.fault(name) is None

    def fault(self, name: str) -> str | None:
        """Why the file cannot be used as it is here; None where it can."""
        path = self._directory / name
        record = self._records.get(name)
        if not path.is_file():
            return "it is missing"
        if record is None:
            return f"{MANIFEST_NAME} has no record that it was checked"
        facts = path.stat()
        if facts.st_size != record.size:
            return f"it has {facts.st_size:,} bytes instead of {record.size:,}"
        if facts.st_mtime_ns != record.mtime_ns:
            return "it changed after it was checked (a copy must keep the times: cp -a, rsync -a)"
        return None if _opens(path) else "it cannot be read as a parquet file"

    def fetch(self, hub: Hub, shard: ShardFacts) -> None:
        """See that a file is here and whole, downloading it if need be."""
        path = self._directory / shard.name
        if path.is_file() and not self._check(path, shard):
            self._mended.skip("damaged shards, fetched anew", str(path))
            path.unlink()
        if not path.is_file():
            try:
                hub.download(shard.name, self._directory)
            except OSError as error:
                if error.errno in _NOT_THE_NETWORK:
                    raise cannot_write(path, error, shard.size) from None
                raise
            if not self._check(path, shard):
                path.unlink(missing_ok=True)
                raise _Damaged(f"{path} arrived with other contents than the hub announced")

    def require_room(self, shards: Iterable[ShardFacts]) -> None:
        """Raise NanosoloError when the disk cannot hold those of the shards that are not here."""
        needed = sum(shard.size for shard in shards if not (self._directory / shard.name).is_file())
        free = shutil.disk_usage(self._directory).free
        if free < needed:
            raise NanosoloError(
                f"too little room: {self._directory} needs {needed:,} bytes and its disk has {free:,} free. "
                "Free some space, set NANOSOLO_HOME to a folder on a larger disk, or train on fewer tokens."
            )

    def bytes_under_way(self) -> int:
        """How much of the unfinished files has arrived."""
        total = 0
        for path in self._unfinished():
            try:
                total += path.stat().st_size
            except OSError:
                continue  # just finished
        return total

    def remove_leftovers(self) -> None:
        """Remove what a killed download left; its next try begins that file anew."""
        for path in self._unfinished():
            path.unlink(missing_ok=True)

    def _unfinished(self) -> list[Path]:
        return list((self._directory / _UNDER_WAY).glob("*.incomplete"))

    def _check(self, path: Path, shard: ShardFacts) -> bool:
        """Compare a file with the hub's facts, and record it when they agree."""
        facts = path.stat()
        if facts.st_size != shard.size:
            return False
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if shard.sha256 not in (None, found) or not _opens(path):
            return False
        with self._lock:
            self._records[shard.name] = _Record(facts.st_size, facts.st_mtime_ns, found)
            content = msgspec.json.format(msgspec.json.encode(self._records, order="sorted"), indent=1)
            write_atomically(self._directory / MANIFEST_NAME, content + b"\n")
        return True


def shared_files(directory: Path, names: Sequence[str]) -> dict[str, Path]:
    """Of the files that belong in `directory`, those that a shared cache has, whole and checked, by name. Others there
    are not used; a note says why."""
    found: dict[str, Path] = {}
    for copy in shared_copies(directory):
        store = ShardStore(copy, SkipCounter())
        faulty: dict[str, str] = {}
        for name in names:
            path = copy / name
            if name in found or not os.path.lexists(path):
                continue
            fault = store.fault(name)
            if fault is None:
                found[name] = path
            else:
                faulty[name] = fault
        if faulty:
            first, why = next(iter(faulty.items()))
            more = f" (likewise {len(faulty) - 1:,} more files)" if len(faulty) > 1 else ""
            note_ignored(copy / first, f"{why}{more}")
    return found


def patiently(what: str, action: Callable[[], Result], backoff_seconds: float) -> Result:
    """Do what needs the network, again after a pause while that can help. Raises NanosoloError."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except NanosoloError:
            raise
        except Exception as error:  # the HTTP library's errors differ between versions of huggingface_hub
            if attempt == ATTEMPTS - 1 or _is_final(error):
                raise NanosoloError(_explain(what, error)) from None
        time.sleep(backoff_seconds * 2**attempt)
    raise AssertionError("unreachable")


def _is_final(error: Exception) -> bool:
    """Whether the server said no, so that asking again cannot help."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is not None and 400 <= status < 500 and status not in (408, 429)


def _explain(what: str, error: Exception) -> str:
    cause = error.__cause__ if type(error).__name__ == "LocalEntryNotFoundError" and error.__cause__ else error
    lines = str(cause).strip().splitlines()
    why = f"{type(cause).__name__}: {lines[0] if lines else 'no details'}"[:200]
    if isinstance(error, _Damaged):
        return f"{error}, {ATTEMPTS} times. Check the network or the mirror in HF_ENDPOINT, and run again."
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status is not None:
        return f"cannot download {what}: the hub answered {status} ({why}). Run again later, or use other data."
    return (
        f"cannot download {what}: no answer from the hub ({why}). "
        "Check the network (HF_ENDPOINT sets a mirror) and run again: what has arrived is kept. "
        "Without a network, use text and conversations that are here (data.source, sft.sources, chat_eval.tasks)."
    )


def _opens(path: Path) -> bool:
    """Whether the footer of a parquet file can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path):
            return True
    except (pa.ArrowException, OSError, ValueError):
        return False
