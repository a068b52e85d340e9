"""The stages of a plan as a table: steps, tokens, peak, time, and all of them together."""

from collections.abc import Iterator
from typing import NamedTuple

from engine.core import formatting
from engine.plan.plan import Plan
from engine.plan.stage_plan import StagePlan

NOT_KNOWN = "not known"

# heading, cells; the first from the left
COLUMNS = (("stage", -10), ("steps", 7), ("tokens", 7), ("peak", 9), ("time", 13))


class StageRow(NamedTuple):
    """One stage in words, and what its figures rest on."""

    stage: str
    steps: str
    tokens: str
    peak: str
    time: str
    fits: bool
    basis: str

    @property
    def line(self) -> str:
        """The texts under their headings."""
        mark = "" if self.fits else "  does not fit"
        return table_line((self.stage, self.steps, self.tokens, self.peak, self.time)) + mark


def stage_rows(plan: Plan) -> list[StageRow]:
    """A row for each stage that costs anything."""
    return [_row(stage) for stage in plan.stages]


def header() -> str:
    """The headings as one line."""
    return table_line(tuple(heading for heading, _ in COLUMNS))


def table_line(cells: tuple[str, ...]) -> str:
    """Texts in their columns, two cells apart."""
    return "  ".join(
        f"{text:>{width}}" if width > 0 else f"{text:<{-width}}"
        for text, (_, width) in zip(cells, COLUMNS, strict=True)
    )


def pipeline_range(plan: Plan) -> str:
    """The predicted range of all stages together, and what is not in it: `14–24 h without data`."""
    whole = plan.pipeline
    text = formatting.hours_range(whole.low_hours, whole.high_hours)
    return f"{text} without {' and '.join(whole.uncounted)}" if whole.hours is not None and whole.uncounted else text


def unknown_reasons(plan: Plan) -> Iterator[str]:
    """Why the time of a stage is not known, a sentence for each that is not."""
    for stage in plan.stages:
        if stage.hours is None:
            yield f"{stage.stage}: {stage.time_basis}"


def _row(stage: StagePlan) -> StageRow:
    return StageRow(
        stage.stage,
        f"{stage.steps:,}" if stage.steps is not None else "-",
        formatting.count(stage.tokens) if stage.tokens is not None else "-",
        formatting.size(stage.peak_memory) if stage.peak_memory is not None else "-",
        formatting.hours_range(stage.low_hours, stage.high_hours),
        stage.fits is not False,
        f"time: {stage.time_basis}; memory: {stage.memory_basis}",
    )
