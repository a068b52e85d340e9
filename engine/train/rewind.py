"""Rewinds after a divergence: which data to skip when training continues from a checkpoint, kept on disk."""

from pathlib import Path

import msgspec

from engine.core.atomic_io import NOT_JSON, write_atomically
from engine.core.errors import NanosoloError
from engine.data.loader import LoaderState

MOST_REWINDS = 3  # from one checkpoint: after that, the data is not the cause
REWINDS_FILE = "rewinds.json"


class Rewind(msgspec.Struct, frozen=True, kw_only=True):
    """After the checkpoint of `step`, data continues at `loader`: the part skipped diverged at `at_step`."""

    step: int
    at_step: int
    loader: LoaderState


def read_rewinds(folder: Path) -> list[Rewind]:
    """All rewinds of a stage, oldest first. Raises NanosoloError when the file is damaged."""
    path = folder / REWINDS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Rewind])
    except FileNotFoundError:
        return []
    except (OSError, *NOT_JSON) as error:
        raise NanosoloError(
            f"cannot read {path}: {error}. Delete it to train again on the data that diverged."
        ) from None


def add_rewind(folder: Path, rewind: Rewind) -> None:
    """Record a rewind. Raises NanosoloError."""
    write_atomically(folder / REWINDS_FILE, msgspec.json.encode([*read_rewinds(folder), rewind]))


def position_after(rewinds: list[Rewind], step: int, loader: LoaderState) -> LoaderState:
    """Where data continues from the checkpoint of `step` that was written at `loader`.

    A checkpoint of the same step that was written after a rewind is already beyond what the rewind skipped.
    """
    places = [loader, *(rewind.loader for rewind in rewinds if rewind.step == step)]
    return max(places, key=lambda place: (place.epoch, place.row))


def attempts_from(rewinds: list[Rewind], step: int) -> int:
    """How often training went back to the checkpoint of `step`."""
    return sum(rewind.step == step for rewind in rewinds)
