"""One `Diagnostic`: what is wrong or could be better, and what to do. Plans, checks, advice and GPU faults use it."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

import msgspec

Severity = Literal["error", "warning", "note", "ok"]  # error: it cannot work; ok: a check that found nothing wrong
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note", "ok")  # the most serious first

Changes = dict[str, bool | int | float | str]  # dotted setting -> value


class Diagnostic(msgspec.Struct, frozen=True):
    """One finding, in the shape of rustc's and ruff's.

    In JSON (plan.json, `plan --json`), `severity` is called "level" and `help` is called "fix", as in earlier versions.
    """

    code: str  # stable identifier, such as does_not_fit
    message: str  # what is wrong, with its number
    help: str = msgspec.field(default="", name="fix")  # what to do; empty where there is nothing to do
    severity: Severity = msgspec.field(default="warning", name="level")
    change: Changes | None = None  # the settings that do it; None where no setting does
    effect: str = ""  # what the change is predicted to bring; empty where that is not known
    subject: str = ""  # what was checked, where a list of checks names it: GPU memory

    @property
    def advice(self) -> str:
        """What to do, and what it brings."""
        return f"{self.help}: {self.effect}" if self.effect else self.help

    def __str__(self) -> str:
        """One or two sentences: what is wrong, then what to do."""
        what, help = self.message.rstrip("."), self.help.rstrip(".")
        return f"{what}. {help[:1].upper()}{help[1:]}." if help else f"{what}."


def failure(code: str, message: str, help: str) -> Diagnostic:
    """A diagnostic that says why something cannot work."""
    return Diagnostic(code, message, help, "error")


def checked(subject: str, severity: Severity, message: str, help: str = "") -> Diagnostic:
    """What a check of a list found; its code is made of the subject: GPU memory has gpu_memory."""
    code = re.sub(r"[^a-z0-9]+", "_", subject.lower()).strip("_")
    return Diagnostic(code, message, help, severity, subject=subject)


def refused(subject: str, error: Exception) -> Diagnostic:
    """A refusal as a diagnostic: its first sentence, and what to do about it."""
    message, _, help = str(error).partition(". ")
    return checked(subject, "error", message.rstrip("."), help)


D = TypeVar("D", bound=Diagnostic)


def by_severity(found: Iterable[D]) -> list[D]:
    """The diagnostics, the most serious first; those of one severity stay in their order."""
    return sorted(found, key=lambda diagnostic: SEVERITIES.index(diagnostic.severity))


def first_error(found: Sequence[Diagnostic]) -> Diagnostic | None:
    """The first diagnostic that says that it cannot work; None where nothing does."""
    return next((diagnostic for diagnostic in found if diagnostic.severity == "error"), None)
