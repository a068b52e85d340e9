"""The checkpoints in a run's directory, by their names alone: which steps of a stage there are."""

import re
from pathlib import Path

_NAME = re.compile(r"step_(\d{6,})")


def checkpoint_path(folder: Path, step: int) -> Path:
    """The directory of the checkpoint after `step` steps."""
    return folder / f"step_{step:06d}"


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints of a stage by step, oldest first."""
    if not folder.is_dir():
        return {}
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return dict(sorted(found))
