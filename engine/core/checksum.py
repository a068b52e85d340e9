"""Checksums of files, to detect silent disk corruption before training reads it."""

from pathlib import Path

import xxhash

PIECE = 16 * 2**20  # bytes read at a time


def fingerprint() -> xxhash.xxh3_128:
    """A hash to feed with `update`; reads 4 GiB a second and more on one core, several times as fast as SHA-256.

    XXH3, 128 bits: detects disk errors, not deliberate changes.
    """
    return xxhash.xxh3_128()


def fingerprint_of(path: Path) -> tuple[int, str]:
    """(size in bytes, fingerprint in hexadecimal) of a file. Raises OSError."""
    digest = fingerprint()
    size = 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()
