"""What a run runs with: Python, system, driver and the commit of nanosolo, noted when it starts."""

import platform
import subprocess
from pathlib import Path

import engine
from engine.run.hardware import nvml

GIT_SECONDS = 5.0


def versions() -> dict[str, str]:
    """By name, without what cannot be told here: no driver without NVML, no commit outside of a checkout."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "driver": _driver(),
        "commit": _commit(Path(engine.__file__).parent.parent),
    }
    return {name: value for name, value in found.items() if value}


def _driver() -> str:
    lib = nvml()
    if lib is None:
        return ""
    try:
        said = lib.nvmlSystemGetDriverVersion()
    except lib.NVMLError:
        return ""
    return said.decode() if isinstance(said, bytes) else str(said)


def _commit(checkout: Path) -> str:
    """The commit, with `-dirty` where files differ from it; empty where `checkout` is not one itself."""
    if not (checkout / ".git").exists():
        return ""  # installed: a repository further up is somebody else's
    command = ("git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
