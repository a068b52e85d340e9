"""Diagnostics as lines of plain text: for doctor, plan and train."""

from collections.abc import Iterator, Sequence
from typing import Any

from engine.core.diagnostic import Diagnostic, Severity

MARKS: dict[Severity, str] = {"error": "x", "warning": "!", "note": "-", "ok": "+"}


def diagnostic_line(found: Diagnostic) -> str:
    """All in one line: `! GPU memory: 3.1 of 39.4 GiB free. End the other processes.`"""
    subject = f"{found.subject}: " if found.subject else ""
    return f"{MARKS[found.severity]} {subject}{found}"


def diagnostic_lines(found: Diagnostic, width: int = 0) -> Iterator[str]:
    """What was found, and under it what to do. `width`: of the column of subjects; 0: no such column."""
    subject = f"{found.subject:<{width}}  " if width else ""
    yield f"{MARKS[found.severity]} {subject}{found.message}"
    if found.help:
        yield f"  {' ' * len(subject)}{found.help}"


def check_table(checks: Sequence[Diagnostic]) -> list[str]:
    """Checks as a table: mark, subject, what was found, what to do."""
    width = max(len(check.subject) for check in checks)
    return [line for check in checks for line in diagnostic_lines(check, width)]


def check_json(check: Diagnostic) -> dict[str, Any]:
    """A check as an object. `name`, `verdict`, `finding` and `action` are the keys of earlier versions."""
    return {
        "name": check.subject,
        "verdict": "problem" if check.severity == "error" else check.severity,
        "finding": check.message,
        "action": check.help,
        "code": check.code,
        "severity": check.severity,
    }
