"""Where nanosolo keeps things: $NANOSOLO_HOME with runs, data and caches; shared data in $NANOSOLO_DATA."""

import os
import pwd
import tempfile
from pathlib import Path

import platformdirs

from engine.core.errors import NanosoloError

SHARED = "NANOSOLO_DATA"  # folders with `data/` and `tokenizers/`, laid out as in a home, separated by os.pathsep


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


def shared_caches() -> list[Path]:
    """The folders that $NANOSOLO_DATA names, in its order, without the home itself; they need not exist."""
    named = [Path(name).expanduser().absolute() for name in os.environ.get(SHARED, "").split(os.pathsep) if name]
    return [cache for cache in dict.fromkeys(named) if cache != home()]


def shared_copies(place: Path) -> list[Path]:
    """Where each shared cache keeps what the home keeps at `place`: read only, and searched before the home.

    Empty for a place outside of the home.
    """
    if not place.is_relative_to(home()):
        return []
    return [cache / place.relative_to(home()) for cache in shared_caches()]


def require_writable(folder: Path, mode: int = 0o700) -> None:
    """Create `folder` and prove that a file can be written there. Raises NanosoloError with the way out.

    `mode`: the permissions of a new folder, before the umask; by default nobody else sees what is in it.
    """
    _try_to_write(folder, mode)


def home_owner() -> str | None:
    """The name of the user whose home this is, where that is somebody else; None where it is ours, or new.

    `runs` is made by the first user of a home. Its owner is compared with that of a file written now, as some file
    systems give every file the same owner. Raises NanosoloError when nothing can be written in the home.
    """
    ours = _try_to_write(home())
    try:
        owner = runs_home().stat().st_uid
    except OSError:
        return None
    return None if owner == ours else user_name(owner)


def user_name(uid: int) -> str:
    """The name of a user, or the number where the system knows no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _try_to_write(folder: Path, mode: int = 0o700) -> int:
    """The owner of a file that was written in `folder`, which is made where it is missing. Raises NanosoloError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"nanosolo")
            return os.fstat(probe.fileno()).st_uid
    except OSError as error:
        raise NanosoloError(
            f"cannot write to {folder}: {error.strerror}. Check its permissions, or set NANOSOLO_HOME to a folder of "
            "your own (NANOSOLO_DATA names folders whose data is only read)."
        ) from None
