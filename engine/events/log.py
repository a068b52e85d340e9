"""events.jsonl: appended by several processes at a time, whatever the disk does, and read while it grows."""

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from engine.core.atomic_io import FULL_DISK, cannot_write
from engine.core.errors import NanosoloError
from engine.events.kinds import AnyEvent, Event, decode, decode_all, encode

READ_BYTES = 2**20  # at a time: few events are alive at once, which spares the garbage collector
RETRY_SECONDS = 1.0
MOST_HELD_BYTES = 16 * 2**20  # of lines that a full disk does not take: some 40,000 steps


class EventLog:
    """Appends events to a file. Several processes may hold one: each line is a single O_APPEND write.

    A full disk does not end a run: what it does not take is held back, and written with the next event that it takes.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NanosoloError(
                f"cannot write {path}: {error.strerror}. Free the disk, or check the permissions of its folder."
            ) from None
        self._path = path
        self._held: deque[bytes] = deque()  # lines that the disk has not taken yet
        self._held_bytes = 0
        self._lock = threading.RLock()  # a checkpoint's thread makes sure of the events before it

    def write(self, event: Event) -> None:
        """Append one event, after those that were held back. Raises NanosoloError when it can never be written."""
        line = encode(event)
        with self._lock:
            self._held.append(line)
            self._held_bytes += len(line)
            written = self.catch_up()
        if not written and self._held_bytes > MOST_HELD_BYTES:
            raise NanosoloError(f"cannot write {self._path}: the disk has been full for long. Free it, then resume.")

    def catch_up(self) -> bool:
        """Write held lines while the disk accepts them. Returns whether none is left."""
        with self._lock:
            while self._held:
                if not self._append(self._held[0]):
                    return False
                self._held_bytes -= len(self._held.popleft())
        return True

    def sync(self) -> None:
        """Return when all events so far are on the disk, whatever becomes of the machine. Raises DiskFull."""
        with self._lock:
            if not self.catch_up():
                raise cannot_write(self._path, OSError(errno.ENOSPC, ""), self._held_bytes)
            os.fsync(self._fd)

    def _append(self, line: bytes) -> bool:
        """Write one line; False where the disk is full."""
        try:
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                line = b"\n" + line  # a writer died, or the disk filled, within a line: only that line is damaged
            return os.write(self._fd, line) == len(line)
        except OSError as error:
            if error.errno in FULL_DISK:
                return False
            raise NanosoloError(f"cannot write {self._path}: {error.strerror}. Fix that, then resume.") from None

    def close(self, patience: float = 0.0) -> None:
        """Close the file, once nothing is held back or `patience` seconds have passed."""
        deadline = time.monotonic() + patience
        while not self.catch_up() and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
        os.close(self._fd)


class EventReader:
    """Reads a growing events.jsonl: each `read` gives the whole lines that came since the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0  # lines that were not a known event
        self.restarted = False  # whether the last read found the file shorter than before, or another file
        self._offset = 0
        self._inode: int | None = None
        self._rest = b""

    def read(self, limit: int = 64 * 2**20) -> list[AnyEvent]:
        """New events, oldest first; empty while the file is missing. At most about `limit` bytes per call."""
        return self.events_of(self.read_lines(limit))

    def read_lines(self, limit: int = 64 * 2**20) -> bytes:
        """New complete lines, verbatim, without the last newline."""
        self.restarted = False
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size < self._offset or self._inode not in (None, status.st_ino):
                    self._offset, self._rest, self.restarted = 0, b"", True
                self._inode = status.st_ino
                file.seek(self._offset)
                data = file.read(limit)
        except OSError:
            return b""
        self._offset += len(data)
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._rest += data
            return b""
        whole, self._rest = self._rest + whole, rest
        return whole

    def events_of(self, lines: bytes) -> list[AnyEvent]:
        """The events in lines of the file; those that are none, or are not known, are counted as damaged."""
        events = decode_all(lines)
        return self._decode_each(lines) if events is None else events

    def batches(self, limit: int) -> Iterator[list[AnyEvent]]:
        """All that came since the last read, about `limit` bytes at a time; a batch is empty where none of them is an
        event that is known."""
        while True:
            before = self._offset
            events = self.read(limit)
            if self._offset == before and not self.restarted:
                return
            yield events

    def skip_to(self, offset: int) -> None:
        """Continue with the first line that begins at or after `offset`."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, offset - 1))
                if offset > 0:
                    file.readline()
                self._offset, self._rest = file.tell(), b""
                self._inode = os.fstat(file.fileno()).st_ino
        except OSError:
            return

    def unread(self) -> int:
        """Bytes that the file holds beyond what was read; 0 while it is missing."""
        try:
            return max(0, self.path.stat().st_size - self._offset)
        except OSError:
            return 0

    def _decode_each(self, data: bytes) -> list[AnyEvent]:
        events = []
        for line in data.split(b"\n"):
            if not line.strip():
                continue
            event = decode(line)
            if event is None:
                self.damaged += 1
            else:
                events.append(event)
        return events


def read_events(path: Path) -> Iterator[AnyEvent]:
    """All whole, known events of a file, oldest first."""
    for batch in EventReader(path).batches(READ_BYTES):
        yield from batch
