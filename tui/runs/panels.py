"""The texts of the Monitor: status, figures, advice, samples, each as rows of styled text."""

import math
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content

from engine.core import formatting
from engine.core.diagnostic import Diagnostic
from engine.events.kinds import Sample
from engine.run.status import RunStatus, Tone
from tui.runs.key_numbers import Comparison, Figure
from tui.widgets.diagnostic_rows import advice_sign

TONES: dict[Tone, tuple[str, str]] = {  # sign, color; the sign alone tells them apart
    "good": ("●", "$success"),
    "busy": ("◆", "$primary"),
    "warn": ("▲", "$warning"),
    "bad": ("✖", "$error"),
    "quiet": ("○", "$quiet"),
}


def sign(tone: Tone) -> Content:
    """The sign of a tone, colored."""
    mark, color = TONES[tone]
    return Content.styled(mark, color)


def status_line(status: RunStatus) -> Content:
    """The sign, the first word in color, the rest plain."""
    return status_rows(status, 10_000)[0]


def status_rows(status: RunStatus, width: int) -> list[Content]:
    """The status in at most two rows: the sign, the first word in color, the rest plain."""
    mark, color = TONES[status.tone]
    lines = textwrap.wrap(status.text, max(8, width - 2), max_lines=2, placeholder=" …", break_on_hyphens=False) or [""]
    first, space, rest = lines[0].partition(" ")
    rows = [Content.styled(f"{mark} {first}", f"bold {color}") + Content(space + rest)]
    return rows + [Content(f"  {line}") for line in lines[1:]]


def fault_line(fault: str) -> Content:
    """Something that is wrong with the files of the run."""
    return Content.styled("▲ ", "$warning") + Content.styled(fault, "$quiet")


def grid(cells: Sequence[tuple[str, str]], width: int, across: int) -> list[Content]:
    """Labels and values in `across` columns, values flush right in each."""
    each = (width - 3 * (across - 1)) // across
    rows = []
    for i in range(0, len(cells), across):
        parts = []
        for label, value in cells[i : i + across]:
            gap = max(1, each - cell_len(label) - cell_len(value))
            parts.append(Content.styled(label + " " * gap, "$quiet") + Content.styled(value, "bold"))
        rows.append(Content("   ").join(parts))
    return rows


def table(figures: Sequence[Figure], width: int) -> list[Content]:
    """now, low, high and plan, in columns flush right."""
    label = 14
    each = max(6, (width - label) // 4)
    heads = "".join(f"{head:>{each}}" for head in ("now", "low", "high", "plan"))
    rows = [Content.styled(f"{'':<{label}}{heads}", "$quiet")]
    for figure in figures:
        gap = " " * max(1, label - cell_len(figure.label) - cell_len(figure.unit) - 1)
        name = Content(figure.label) + Content.styled(f" {figure.unit}{gap}", "$quiet")
        now = Content.styled(f"{figure.now:>{each}}", "bold")
        others = "".join(f"{text:>{each}}" for text in (figure.low, figure.high, figure.planned))
        rows.append(name + now + Content.styled(others, "$quiet"))
    return rows


def comparison_table(rows: Sequence[Comparison], width: int) -> list[Content]:
    """Predicted, measured, and the one as a share of the other."""
    each = max(9, (width - 13 - 7) // 2)
    lines = [Content.styled(f"{'':<13}{'predicted':>{each}}{'measured':>{each}}", "$quiet")]
    for row in rows:
        share = "" if math.isnan(row.ratio) else formatting.percent(row.ratio)
        line = Content(f"{row.label:<13}") + Content.styled(f"{row.predicted:>{each}}", "$quiet")
        lines.append(line + Content.styled(f"{row.measured:>{each}}", "bold") + Content.styled(f"{share:>7}", "$quiet"))
    return lines


def heading(text: str, width: int, note: str = "") -> Content:
    """A title and a rule to the right of it."""
    note = f" {note}" if note else ""
    rule = "─" * max(0, width - cell_len(text) - 1 - cell_len(note))
    return Content.styled(text, "bold $primary") + Content.styled(f" {rule}{note}", "$faint")


def advice_line(found: Sequence[Diagnostic], key: str, width: int) -> Content:
    """The most serious piece of advice, and how many there are."""
    if not found:
        return Content("")
    first = found[0]
    more = f"  {key} for all {len(found)}" if len(found) > 1 else f"  {key} for more"
    text = f" {first.message}"
    room = width - cell_len(more) - 1
    text = text if cell_len(text) <= room else text[: room - 1].rstrip() + "…"
    gap = " " * max(0, width - 1 - cell_len(text) - cell_len(more))
    return advice_sign(first) + Content(text + gap) + Content.styled(more, "$quiet")


def sample_rows(samples: Sequence[Sample], width: int, height: int | None = None) -> list[Content]:
    """The newest samples, the prompt apart from what the model wrote; as many as fit."""
    if not samples:
        return [
            Content.styled("No samples yet. evaluate.sample_every_steps sets how often they are written.", "$quiet")
        ]
    newest = [sample for sample in samples if sample.step == samples[-1].step]
    rows: list[Content] = []
    for sample in newest:
        # pretraining continues the prompt; an answer is separate from it
        between = "" if sample.stage in ("pretrain", "evaluate") else " "
        text = " ".join(f"{sample.prompt}{between}{sample.text}".split())
        start = len(" ".join(sample.prompt.split()))
        lines = textwrap.wrap(text, width) or [""]
        if height is not None and rows and len(rows) + len(lines) > height:
            break
        at = 0
        for line in lines:
            cut = min(len(line), max(0, start - at))
            rows.append(Content.styled(line[:cut], "$quiet") + Content(line[cut:]))
            at += len(line) + 1
    return rows
