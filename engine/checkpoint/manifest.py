"""The manifest of a checkpoint: size and fingerprint of each file, to see damage, and the code that wrote it."""

import re
from pathlib import Path

import msgspec

from engine.core.atomic_io import NOT_JSON, write_atomically
from engine.core.checksum import fingerprint_of
from engine.core.errors import NanosoloError
from engine.hardware.versions import Code, this_code

FORMAT = 2
MANIFEST_FILE = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Damaged(NanosoloError):
    """A checkpoint is not what was written."""


class FileEntry(msgspec.Struct, frozen=True):
    """What a file must be."""

    bytes: int
    hash: str  # engine.core.checksum's, in hexadecimal


class Manifest(msgspec.Struct, frozen=True):
    """The contents of manifest.json."""

    format: int
    files: dict[str, FileEntry]
    code: Code | None = None  # that wrote it; None: not noted, as before November 2026


def write_manifest(folder: Path, files: dict[str, FileEntry]) -> None:
    """Write the manifest of `folder`. It comes last: where it is, the rest is whole. Raises NanosoloError."""
    content = msgspec.json.encode(Manifest(FORMAT, files, this_code()))
    write_atomically(folder / MANIFEST_FILE, msgspec.json.format(content, indent=1) + b"\n")


def code_of(folder: Path) -> Code | None:
    """The code that wrote a checkpoint; None where that is not known."""
    try:
        return _read(folder / MANIFEST_FILE).code
    except Damaged:
        return None  # the loader reports it


def verify(folder: Path) -> None:
    """Read every file of a checkpoint against its manifest. Raises Damaged naming the first that differs."""
    path = folder / MANIFEST_FILE
    manifest = _read(path)
    if manifest.format != FORMAT:
        raise Damaged(f"{path} has format {manifest.format}; this version reads {FORMAT}")
    for name, entry in manifest.files.items():
        if not _NAME.fullmatch(name):
            raise Damaged(f"{path} names a file outside: {name!r}")
        found = measure(folder / name)
        if found.bytes != entry.bytes:
            raise Damaged(f"{folder / name} has {found.bytes:,} bytes, not {entry.bytes:,}")
        if found.hash != entry.hash:
            raise Damaged(f"{folder / name} is not what was written: its fingerprint differs")


def _read(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise Damaged(f"{path}: {error.strerror}") from None
    except NOT_JSON:
        raise Damaged(f"{path} is not a manifest") from None


def measure(path: Path) -> FileEntry:
    """Size and fingerprint of a file. Raises Damaged when it cannot be read."""
    try:
        return FileEntry(*fingerprint_of(path))
    except OSError as error:
        raise Damaged(f"{path}: {error.strerror}") from None
