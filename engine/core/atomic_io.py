"""Atomic file writes: a reader finds the old file or the complete new one, never a part."""

import contextlib
import errno
import os
from pathlib import Path

import msgspec

from engine.core.errors import NanosoloError

# What msgspec raises for bytes that are not the JSON they should be.
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

FULL_DISK = {  # error numbers
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,  # a limit on the size of files
}


class DiskFull(NanosoloError):
    """The disk, a quota or a file size limit is full."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file next to `path`, flush it to disk, and rename it. Raises NanosoloError with the path."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            flush_to_disk(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()  # on a full disk its bytes are wanted back
        raise cannot_write(path, error, len(content)) from None


def flush_to_disk(descriptor: int) -> None:
    """Return when the bytes of an open file are on the disk (its buffers must be empty: open unbuffered or flush)."""
    os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Return when the names in a folder are on the disk. Without effect where folders cannot be opened (Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError, needed: int) -> NanosoloError:
    """The one line for a failed write; `needed` is how many bytes it takes at least, 0 when nobody knows."""
    if error.errno in FULL_DISK:
        wants = f"{path} needs at least {needed:,} bytes" if needed else f"{path} cannot be written"
        return DiskFull(
            f"the disk is full: {wants}. Free some space, or set NANOSOLO_HOME to a folder on a larger disk."
        )
    return NanosoloError(
        f"cannot write {path}: {error.strerror or error}. "
        "Make it writable, or set NANOSOLO_HOME to a folder that you may write to."
    )
