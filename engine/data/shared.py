"""What shared caches (NANOSOLO_DATA) have: used as it is, without locks; what is incomplete is ignored, with a note."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from engine.core.errors import NanosoloError
from engine.core.paths import shared_copies

Found = TypeVar("Found")


def from_shared(place: Path, open_at: Callable[[Path], Found]) -> Found | None:
    """What the first shared cache with a usable copy of `place` (a path in the home) holds there; None without one.

    `open_at` opens a copy. It raises NanosoloError saying why a copy cannot be used; that is printed as a note.
    """
    for copy in shared_copies(place):
        try:
            copy.stat()
            found = open_at(copy)
        except (FileNotFoundError, NotADirectoryError):
            continue  # not in this cache
        except OSError as error:
            note_ignored(copy, error.strerror or str(error))
        except NanosoloError as error:
            note_ignored(copy, str(error).partition(". ")[0])  # its remedy is for the one who owns the cache
        else:
            _note_used(copy)
            return found
    return None


@cache  # once per process: a stage looks at the same place several times
def note_ignored(place: Path, why: str) -> None:
    """Say that something in a shared cache is not used."""
    print(f"note: {place} in a shared cache is not used: {why}")


@cache
def _note_used(place: Path) -> None:
    print(f"from a shared cache: {place}")
