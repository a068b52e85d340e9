"""Which code of nanosolo runs, and what it runs with: noted when a run or a stage starts, and in each checkpoint."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

import engine
from engine import __version__
from engine.hardware.detect import nvml

GIT_SECONDS = 5.0
NAMED_COMMIT = "NANOSOLO_COMMIT"  # for images and packages that are built of a checkout and leave .git out
DIRTY = "-dirty"
# a checkout that an administrator set up for all is trusted, as its code runs; nothing is written to it
_GIT = ("git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false")


class Code(msgspec.Struct, frozen=True, omit_defaults=True):
    """Some code of nanosolo."""

    version: str = ""
    commit: str = ""  # with -dirty where tracked files differ from it; empty where nobody knows
    changes: str = ""  # a fingerprint of these differences

    def __str__(self) -> str:
        return f"{self.version or 'unknown version'} ({self.commit})" if self.commit else self.version or "unknown"


@cache  # a checkout may change while this process runs what it has loaded
def this_code() -> Code:
    """The code of this process, as it was when it was first asked for."""
    commit, changes = os.environ.get(NAMED_COMMIT, ""), ""
    if not commit:
        commit, changes = commit_of(Path(engine.__file__).parent.parent)
    return Code(__version__, commit, changes)


def is_other(then: Code, now: Code) -> bool:
    """Whether two codes are known to differ, or (with uncommitted changes) are not known to be the same. Where one has
    no commit, the versions decide."""
    if then.version != now.version:
        return True
    return bool(then.commit and now.commit) and (then.commit, then.changes) != (now.commit, now.changes)


def warning_of_other_code(what: str, then: Code | None, now: Code) -> str:
    """One line where something was made by other code than runs now; empty where it was not, or nobody knows.

    `what`: the subject of the sentence, for example `checkpoint step 40 of sft`.
    """
    if then is None or not is_other(then, now):
        return ""
    same = (then.version, then.commit) == (now.version, now.commit)
    differ = ", each with other uncommitted changes" if same else ""
    return f"{what} was written by nanosolo {then}, this is {now}{differ}: results may differ"


def noted_code(version: str, noted: Mapping[str, Any]) -> Code:
    """The code that the start of a run noted: its version, and `versions` as they were then."""
    return Code(version, str(noted.get("commit", "")), str(noted.get("changes", "")))


def versions() -> dict[str, str]:
    """By name, without what cannot be told here: no driver without NVML, no commit outside of a checkout."""
    code = this_code()
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "driver": _driver(),
        "commit": code.commit,
        "changes": code.changes,
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


def commit_of(checkout: Path) -> tuple[str, str]:
    """(commit, fingerprint of uncommitted changes): the commit with `-dirty` where tracked files differ from it; both
    empty where `checkout` is not one itself."""
    if not (checkout / ".git").exists():
        return "", ""  # installed: a repository further up is somebody else's
    commit = _git(checkout, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").decode(errors="replace")
    if not commit.strip().endswith(DIRTY):
        return commit.strip(), ""
    difference = _git(checkout, "diff", "--no-ext-diff", "HEAD")
    return commit.strip(), hashlib.blake2b(difference, digest_size=4).hexdigest() if difference else ""


def _git(checkout: Path, *arguments: str) -> bytes:
    """What git prints; empty where it fails."""
    # a hook that starts a run names its own repository in GIT_DIR
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            (*_GIT, "-C", str(checkout), *arguments),
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
