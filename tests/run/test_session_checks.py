"""Whether a logout ends a run is said where systemd can tell, and only there."""

from pathlib import Path

import pytest

from engine.diagnostics import session_checks
from engine.diagnostics.session_checks import check_session, session_scope

IN_A_SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
UNDER_THE_USER_MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r12.scope\n"
OLD_GROUPS = "4:memory:/user.slice\n1:name=systemd:/user.slice/user-1000.slice/session-c2.scope\n"


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A logind in place of the machine's: what its busctl prints is in this file."""
    busctl, answer = tmp_path / "busctl", tmp_path / "answer"
    busctl.write_text(f'#!/bin/sh\n[ "$5" = KillUserProcesses ] && cat {answer}\n')
    busctl.chmod(0o755)
    answer.write_text("b true\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(session_checks, "CGROUP", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text(IN_A_SESSION)
    return answer


def test_a_session_whose_end_kills_is_warned_of_with_the_way_out(says: Path) -> None:
    check = check_session(root=False)
    assert check is not None and check.severity == "warning"
    assert "session-3.scope" in check.message and "systemd-run --user --scope" in check.help


def test_nothing_is_said_where_a_logout_ends_nothing(says: Path) -> None:
    assert check_session(root=True) is None
    says.write_text("b false\n")
    assert check_session(root=False) is None
    says.unlink()  # no logind answers
    assert check_session(root=False) is None


@pytest.mark.parametrize(
    ("groups", "scope"),
    [(IN_A_SESSION, "session-3.scope"), (OLD_GROUPS, "session-c2.scope"), (UNDER_THE_USER_MANAGER, None), ("", None)],
)
def test_the_scope_is_read_from_control_groups(says: Path, groups: str, scope: str | None) -> None:
    session_checks.CGROUP.write_text(groups)
    assert session_scope() == scope
    assert (check_session(root=False) is None) == (scope is None)
