"""Archived results of stages that were restarted: checkpoints/sft.1, sft.2, ..."""

from pathlib import Path

from engine.core.atomic_io import sync_directory
from engine.core.errors import NanosoloError
from engine.run.directory import RunDirectory


def holds_result(run: RunDirectory, stage: str) -> bool:
    """Whether the stage has a result to archive."""
    folder = run.checkpoints(stage)
    return folder.is_dir() and any(folder.iterdir())


def archive_name(run: RunDirectory, stage: str) -> str:
    """The name of the folder for the stage's archived result: the first free number."""
    number = 1
    while run.checkpoints(f"{stage}.{number}").exists():
        number += 1
    return f"{stage}.{number}"


def archive_result(run: RunDirectory, stage: str, name: str) -> None:
    """Move the checkpoints of a stage to the folder `name`, unless that is done already. Raises NanosoloError."""
    folder, kept = run.checkpoints(stage), run.checkpoints(name)
    if not name or kept.exists() or not folder.is_dir():
        return
    try:
        folder.rename(kept)
        sync_directory(kept.parent)
    except OSError as error:
        raise NanosoloError(
            f"cannot move {folder} to {kept}: {error.strerror}. Check the permissions of that folder, then resume."
        ) from None


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder, 0 where there is none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # gone since
    return total
