"""Uses data of shared caches (NANOSOLO_DATA) in place and without locks; notes and ignores incomplete copies."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from engine.core.errors import NanosoloError
from engine.core.paths import shared_copies

Found = TypeVar("Found")


def from_shared(place: Path, open_at: Callable[[Path], Found]) -> Found | None:
    """Open the first usable copy of `place` (a path in the home) in a shared cache; None if there is none.

    `open_at` opens a copy. It raises NanosoloError if a copy cannot be used; the reason is printed as a note.
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
            note_ignored(copy, str(error).partition(". ")[0])  # the remedy is for the owner of the cache
        else:
            _note_used(copy)
            return found
    return None


@cache  # once per process: a stage looks at the same place several times
def note_ignored(place: Path, why: str) -> None:
    """Print that a copy in a shared cache is not used."""
    print(f"note: {place} in a shared cache is not used: {why}")


@cache
def _note_used(place: Path) -> None:
    print(f"from a shared cache: {place}")
