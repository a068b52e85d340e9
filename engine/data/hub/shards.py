"""A folder of parquet files from a dataset on the Hugging Face hub, verified against its sizes and checksums."""

import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from engine.core.atomic_io import NOT_JSON, write_atomically
from engine.core.errors import NanosoloError
from engine.core.paths import shared_copies
from engine.data.shared import note_ignored
from engine.data.skip_counter import SkipCounter

MANIFEST_NAME = "shards.json"
_IN_PROGRESS = ".cache/huggingface/download"  # where huggingface_hub keeps the unfinished files of a folder


class RemoteFile(msgspec.Struct, frozen=True):
    """A file as the hub describes it."""

    name: str
    size: int  # bytes
    sha256: str | None


class _Record(msgspec.Struct, frozen=True):
    """The state of a local file when it was verified."""

    size: int
    mtime_ns: int
    sha256: str


class ShardStore:
    """A folder of files with a record of the verified ones, so that each file is hashed once."""

    def __init__(self, directory: Path, replaced: SkipCounter) -> None:
        self.directory = directory
        self._replaced = replaced  # counts damaged files that are downloaded again
        self._lock = threading.Lock()
        try:
            content = (directory / MANIFEST_NAME).read_bytes()
            self._records = msgspec.json.decode(content, type=dict[str, _Record])
        except (OSError, *NOT_JSON):
            self._records = {}  # every file is verified again

    def is_valid(self, name: str) -> bool:
        """Whether the file exists, is unchanged since it was verified, and opens."""
        return self.fault(name) is None

    def fault(self, name: str) -> str | None:
        """Why the local file cannot be used; None if it can."""
        path = self.directory / name
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

    def accept_existing(self, file: RemoteFile) -> bool:
        """Whether the file exists and is valid. Removes and counts a damaged one."""
        path = self.directory / file.name
        if not path.is_file():
            return False
        if self._verify(path, file):
            return True
        self._replaced.skip("damaged shards, downloaded again", str(path))
        path.unlink()
        return False

    def accept(self, file: RemoteFile) -> bool:
        """Verify a file that has just arrived. Removes a damaged one and returns False."""
        path = self.directory / file.name
        if self._verify(path, file):
            return True
        path.unlink(missing_ok=True)
        return False

    def require_room(self, files: Iterable[RemoteFile]) -> None:
        """Raise NanosoloError if the disk cannot hold the missing files."""
        needed = sum(file.size for file in files if not (self.directory / file.name).is_file())
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            raise NanosoloError(
                f"not enough disk space: {self.directory} needs {needed:,} bytes and its disk has {free:,} free. "
                "Free some space, set NANOSOLO_HOME to a folder on a larger disk, or train on fewer tokens."
            )

    def bytes_in_progress(self) -> int:
        """The bytes of unfinished files that have arrived."""
        total = 0
        for path in self._unfinished():
            try:
                total += path.stat().st_size
            except OSError:
                continue  # finished a moment ago
        return total

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of a killed process: huggingface_hub does not resume those."""
        for path in self._unfinished():
            path.unlink(missing_ok=True)

    def _unfinished(self) -> list[Path]:
        return list((self.directory / _IN_PROGRESS).glob("*.incomplete"))

    def _verify(self, path: Path, file: RemoteFile) -> bool:
        """Compare a file with the hub's description, and record it if they agree."""
        facts = path.stat()
        if facts.st_size != file.size:
            return False
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if file.sha256 not in (None, found) or not _opens(path):
            return False
        with self._lock:
            self._records[file.name] = _Record(facts.st_size, facts.st_mtime_ns, found)
            content = msgspec.json.format(msgspec.json.encode(self._records, order="sorted"), indent=1)
            write_atomically(self.directory / MANIFEST_NAME, content + b"\n")
        return True


def shared_files(directory: Path, names: Sequence[str]) -> dict[str, Path]:
    """The files of `directory` that a shared cache holds, verified, by name. A note says why another is not used."""
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
            more = f" (also {len(faulty) - 1:,} more files)" if len(faulty) > 1 else ""
            note_ignored(copy / first, f"{why}{more}")
    return found


def _opens(path: Path) -> bool:
    """Whether the footer of a parquet file can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path):
            return True
    except (pa.ArrowException, OSError, ValueError):
        return False
