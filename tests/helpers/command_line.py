"""Run `nanosolo` as a user does: a process, its exit code, its output."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = (sys.executable, "-c", "from tui.cli.main import entry; entry()")


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment with another home and without a developer's variables."""
    ours = {key: value for key, value in os.environ.items() if key not in ("NANOSOLO_HOME", "COLUMNS", "PYTHONPATH")}
    return {**ours, "NANOSOLO_HOME": str(home), "CUDA_VISIBLE_DEVICES": "", **more}


def nanosolo(
    home: Path, *arguments: str, within: Sequence[str] = (), **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run it to its end. `within`: a command that runs it; `more`: environment variables."""
    return subprocess.run(
        (*within, *PROGRAM, *arguments),
        env=environment(home, **more),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def in_a_mount(folder: Path, options: str) -> tuple[str, ...] | None:
    """A command that runs another one with a separate file system at `folder`; None if that is not allowed."""
    if shutil.which("unshare") is None:
        return None
    mount = f'mount -t tmpfs -o "{options}" tmpfs "{folder}" && exec "$0" "$@"'
    within = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount)
    works = subprocess.run((*within, "true"), capture_output=True, check=False).returncode == 0
    return within if works else None
