"""Whether systemd ends a run when its user logs out: KillUserProcesses ends all that a login session has started."""

import os
import re
import subprocess
from pathlib import Path

from engine.core.diagnostic import Diagnostic, checked

CGROUP = Path("/proc/self/cgroup")
SESSION = re.compile(r"/(session-[^/\s]+\.scope)")
LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
PATIENCE = 2.0  # seconds for logind to answer


def check_session(root: bool) -> Diagnostic | None:
    """A warning where a run started from here ends with the login session; None where it does not, or this is unknown.

    `root`: whether the user is root, whose processes logind leaves alone (KillExcludeUsers).
    """
    scope = session_scope()
    if scope is None or root or not _kills_user_processes():
        return None
    return checked(
        subject="session",
        severity="warning",
        message=f"systemd ends all processes of this login session ({scope}) when you log out: KillUserProcesses=yes",
        help="loginctl enable-linger, then prefix the command with: systemd-run --user --scope "
        "(docs/recipes.md, systemd)",
    )


def session_scope() -> str | None:
    """The scope of the login session that this process belongs to; None outside of one, as under systemd-run --user."""
    try:
        found = SESSION.search(CGROUP.read_text())
    except OSError:
        return None
    return found[1] if found else None


def _kills_user_processes() -> bool:
    """What logind says of KillUserProcesses; False where there is no logind."""
    try:
        done = subprocess.run(
            ("busctl", "get-property", *LOGIND, "KillUserProcesses"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "b true"
