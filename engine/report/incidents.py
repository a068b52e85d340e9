"""Incidents of a run with their times: resumes, out of memory, divergence, warnings, advice."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from engine.core import formatting
from engine.events.spikes import SPIKE
from engine.report.document import Block, Column, Paragraph, Section, Table
from engine.report.excerpts import excerpt
from engine.report.source import Source

SHOWN = 4  # of one kind; if there are more, the first ones and the last


class Incident(NamedTuple):
    """One incident."""

    t: float
    kind: str
    stage: str
    step: int | None
    what: str


def incidents_section(source: Source) -> Section:
    """Counts in a sentence, and the incidents in order."""
    found = sorted(_incidents(source), key=lambda each: each.t)
    blocks: list[Block] = [Paragraph(_counts(source))]
    if found:
        heads = (Column("after", "number"), Column("stage"), Column("step", "number"), Column("what"))
        blocks.append(Table(heads, tuple(_rows(source, found))))
    return Section("incidents", "On the way", tuple(blocks))


def _incidents(source: Source) -> Iterator[Incident]:
    history = source.history
    for resumed in history.resumes:
        yield Incident(resumed.t, "resumed", resumed.stage, resumed.step, f"resumed after step {resumed.step:,}")
    for full in history.out_of_memory:
        held = f", {formatting.size(full.allocated)} held" if full.allocated else ""
        room = f" of {formatting.size(full.capacity)}" if full.capacity and held else ""
        what = f"out of memory in {full.phase}{held}{room}: {full.action}"
        yield Incident(full.t, "out of memory", full.stage, full.step, what)
    for bad in history.diverged:
        yield Incident(bad.t, "diverged", bad.stage, bad.step, f"diverged, {bad.what}: {bad.action}")
    for warning in history.warnings:
        yield Incident(warning.t, warning.code, warning.stage, warning.step, f"{warning.code}: {warning.message}")
    for advice in history.advice:
        yield Incident(advice.t, advice.code, "", None, f"{advice.code}: {advice.message}")
    for attempt in history.attempts:
        if attempt.outcome is None and attempt.seconds is not None:
            ended = attempt.started + attempt.seconds
            yield Incident(ended, "silent end", attempt.stage, None, "ended unexpectedly: its runner exited")
        elif attempt.outcome not in (None, "done"):
            ended = attempt.started + (attempt.seconds or 0.0)
            outcome = str(attempt.outcome).replace("_", " ")
            yield Incident(ended, outcome, attempt.stage, None, f"ended: {outcome}")


def _rows(source: Source, found: list[Incident]) -> Iterator[tuple[str, ...]]:
    """All incidents; of a frequent kind only the first ones and the last."""
    first = source.history.first_started
    total = Counter(incident.kind for incident in found)
    seen: Counter[str] = Counter()
    for incident in found:
        seen[incident.kind] += 1
        place, last = seen[incident.kind], total[incident.kind]
        if SHOWN < place < last:
            if place == SHOWN + 1:
                more = last - 1 - SHOWN
                yield "…", "", "", f"{more:,} more of kind “{excerpt(incident.kind, 60)}” before the last one"
            continue
        yield (
            formatting.duration(max(0.0, incident.t - first)) if first is not None else "?",
            excerpt(incident.stage, 40),
            f"{incident.step:,}" if incident.step is not None else "",
            excerpt(incident.what),
        )


def _counts(source: Source) -> str:
    history = source.history
    rewinds = sum("going back" in bad.action for bad in history.diverged)
    spikes = sum(warning.code == SPIKE for warning in history.warnings)
    counted = (
        (len(history.resumes) - rewinds, "resumed", "not resumed"),
        (len(history.out_of_memory), "out of memory", "never out of memory"),
        (rewinds, "rewound after diverging", "never rewound"),
        (spikes, "loss spike", "no loss spike"),
    )
    said = [none if number <= 0 else f"{some} {_times(number)}" for number, some, none in counted]
    text = "; ".join(said)
    more = []
    if history.damaged:
        more.append(
            f"{history.damaged:,} lines of events.jsonl could not be read (damaged, or written by a newer nanosolo)."
        )
    if history.clock_jumps:
        more.append(f"The clock was set back {_times(history.clock_jumps)}: times may be wrong by that amount.")
    return " ".join([f"{text[:1].upper()}{text[1:]}.", *more])


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")
