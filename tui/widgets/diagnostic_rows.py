"""Diagnostics on the screen: one sign and one color per severity, and the wrapped text."""

import textwrap
from collections.abc import Sequence

from textual.content import Content

from engine.core.diagnostic import Diagnostic, Severity

SIGNS: dict[Severity, tuple[str, str]] = {  # sign, style; the sign alone tells them apart
    "error": ("✗", "bold $error"),
    "warning": ("!", "bold $warning"),
    "note": ("-", "bold $quiet"),
    "ok": ("✓", "$success"),
}
ADVICE_SIGNS: dict[Severity, tuple[str, str]] = {  # on the Monitor: those of a run's status
    "error": ("✖", "$error"),
    "warning": ("▲", "$warning"),
    "note": ("◆", "$primary"),
    "ok": ("●", "$success"),
}


def sign(found: Diagnostic) -> Content:
    """The sign of its severity, colored."""
    return Content.styled(*SIGNS[found.severity])


def advice_sign(found: Diagnostic) -> Content:
    """The sign of its severity among the advice on a run."""
    return Content.styled(*ADVICE_SIGNS[found.severity])


def help_sentence(found: Diagnostic) -> str:
    """What to do, as a sentence without its full stop."""
    help = found.help.rstrip(".")
    return help[:1].upper() + help[1:]


def check_line(found: Diagnostic, indent: int, width: int, more: str = "") -> Content:
    """A sign, what was checked and what was found, wrapped under itself. `indent`: cells before the text. `more`: what
    the screen adds to the help."""
    text = str(found) if found.help else found.message
    first, *rest = textwrap.wrap(f"{text} {more}".rstrip(), max(20, width - indent)) or [""]
    head = sign(found) + Content(" ") + Content.styled(f"{found.subject:<{indent - 2}}", "$quiet")
    return Content("\n").join([head + Content(first), *(Content(" " * indent + line) for line in rest)])


def advice_rows(found: Sequence[Diagnostic], width: int, commands: bool = False) -> list[Content]:
    """Each piece of advice: what is wrong, what to do, the effect; with `commands` also the settings."""
    if not found:
        return [Content.styled("No advice. The run looks healthy.", "$quiet")]
    rows: list[Content] = []
    for each in found:
        for at, part in enumerate(textwrap.wrap(each.message, width - 2) or [""]):
            rows.append((Content(" ") if at else advice_sign(each)) + Content.styled(f" {part}", "bold"))
        rows += [Content(f"  {part}") for part in textwrap.wrap(each.advice, width - 2)]
        if commands and each.change:
            settings = " ".join(f"--set {path}={value}" for path, value in each.change.items())
            rows += [Content.styled(f"  {part}", "$secondary") for part in textwrap.wrap(settings, width - 2)]
    return rows
