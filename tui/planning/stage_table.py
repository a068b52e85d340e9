"""The stages of a plan as a table: steps, tokens, peak memory, time, and the total time."""

from collections.abc import Iterator
from typing import NamedTuple

from engine.core import formatting
from engine.plan.plan import Plan
from engine.plan.stage_plan import StagePlan

NOT_KNOWN = "not known"

# heading, cells; negative: left-aligned
COLUMNS = (("stage", -10), ("steps", 7), ("tokens", 7), ("peak", 9), ("time", 13))


class StageRow(NamedTuple):
    """The texts of one stage, and the basis of its figures."""

    stage: str
    steps: str
    tokens: str
    peak: str
    time: str
    fits: bool
    basis: str

    @property
    def line(self) -> str:
        """The row as one line."""
        mark = "" if self.fits else "  does not fit"
        return table_line((self.stage, self.steps, self.tokens, self.peak, self.time)) + mark


def stage_rows(plan: Plan) -> list[StageRow]:
    """One row per stage that takes time or memory."""
    return [_row(stage) for stage in plan.stages]


def header() -> str:
    """The headings as one line."""
    return table_line(tuple(heading for heading, _ in COLUMNS))


def table_line(cells: tuple[str, ...]) -> str:
    """The texts in columns, two cells apart."""
    return "  ".join(
        f"{text:>{width}}" if width > 0 else f"{text:<{-width}}"
        for text, (_, width) in zip(cells, COLUMNS, strict=True)
    )


def pipeline_range(plan: Plan) -> str:
    """The predicted time range of all stages, and the stages not counted: `14–24 h without data`."""
    whole = plan.pipeline
    text = formatting.hours_range(whole.low_hours, whole.high_hours)
    return f"{text} without {' and '.join(whole.uncounted)}" if whole.hours is not None and whole.uncounted else text


def unknown_reasons(plan: Plan) -> Iterator[str]:
    """Why the time of a stage is not known, one sentence per stage."""
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
