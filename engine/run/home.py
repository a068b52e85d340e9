"""Where nanosolo keeps things: $NANOSOLO_HOME with runs, tokenizers, data and caches."""

import os
import tempfile
from pathlib import Path

import platformdirs

from engine.errors import NanosoloError


def home() -> Path:
    """$NANOSOLO_HOME, else the platform's user data directory. Not created here."""
    named = os.environ.get("NANOSOLO_HOME")
    return Path(named).expanduser().absolute() if named else Path(platformdirs.user_data_dir("nanosolo"))


def runs_home() -> Path:
    """The folder of all runs."""
    return home() / "runs"


def data_home() -> Path:
    """Downloaded corpora and token files."""
    return home() / "data"


def tokenizers_home() -> Path:
    """Trained tokenizers, shared by runs that use the same corpus and settings."""
    return home() / "tokenizers"


def presets_home() -> Path:
    """The user's own presets."""
    return home() / "presets"


def cache_home() -> Path:
    """What torch.compile has made: kept over restarts, made again where it is gone."""
    return home() / "cache"


def require_writable(folder: Path) -> None:
    """Create `folder` and prove that a file can be written there. Raises NanosoloError with the way out."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"nanosolo")
    except OSError as error:
        raise NanosoloError(
            f"cannot write to {folder}: {error.strerror}. Free it, or name another folder with NANOSOLO_HOME."
        ) from None
