"""The stages of a run in one line: done ones with their time, the running one with a bar; merged to fit."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from rich.cells import cell_len
from textual.content import Content

from engine.config.schema import RunConfig
from engine.config.stages import in_order
from engine.core import formatting
from engine.events.history import History

SEPARATOR = "  "
LEAST_BAR, LONGEST_BAR = 6, 48
SHARE_CELLS = 6  # a space before the bar, and `  7 %` behind it
Mark = Literal["✓", "■", "✗", "▸", "·"]
STYLES: dict[Mark, tuple[str, str]] = {  # mark -> style of the mark, style of the name
    "✓": ("$success", ""),
    "■": ("$warning", ""),
    "✗": ("bold $error", "bold $error"),
    "▸": ("bold $primary", "bold $primary"),
    "·": ("", "$quiet"),
}

MARKS: dict[str, Mark] = {"done": "✓", "stopped": "■"}  # of an outcome; all others failed


class Part(NamedTuple):
    """One stage, or several of the same mark in one."""

    mark: Mark  # ✓ done, ■ stopped, ✗ failed, ▸ running, · to come
    text: str
    share: float | None = None  # done, of the running stage

    @property
    def cells(self) -> int:
        return 2 + cell_len(self.text) + (SHARE_CELLS + LEAST_BAR if self.share is not None else 0)


def pipeline_line(history: History, config: RunConfig | None, width: int, live: bool = True) -> Content:
    """The line for a width in cells.

    Where the run is not `live`, a stage without a recorded end ended with the run.
    """
    planned = config.pipeline.stages if config is not None else ()
    stages = in_order([*planned, *history.stages, *history.requests.requested])
    if not stages:
        return Content.styled("no stage yet", "$quiet")
    shapes = list(_shapes(history, stages, live))
    parts = next((shape for shape in shapes if _length(shape) <= width), shapes[-1])
    bar = min(LONGEST_BAR, LEAST_BAR + max(0, width - _length(parts)))
    return Content(SEPARATOR).join([_draw(part, bar) for part in parts])


def share_done(history: History, stage: str) -> float | None:
    """Progress of the stage, 0 to 1; None where it is unknown."""
    columns = history.steps.get(stage)
    if columns is not None and len(columns) and columns.steps:
        return min(1.0, columns.step[-1] / columns.steps)
    progress = history.progress
    if progress is not None and progress.stage == stage and progress.total:
        return min(1.0, progress.done / progress.total)
    return None


def _shapes(history: History, stages: Sequence[str], live: bool) -> Iterator[list[Part]]:
    """The parts in ever fewer cells."""
    yield [_part(history, stage, live, True) for stage in stages]
    named = [_part(history, stage, live, False) for stage in stages]
    yield named
    yield _merged(named, "✓")
    yield _merged(named, "✓·")


def _part(history: History, stage: str, live: bool, timed: bool) -> Part:
    view = history.stages.get(stage)
    if view is None:
        return Part("·", stage)
    if view.ended is None:
        return Part("▸", stage, share_done(history, stage)) if live else Part("✗", stage)
    mark = MARKS.get(view.ended.outcome, "✗")
    time = f" {formatting.duration(view.ended.seconds)}" if timed and mark == "✓" else ""
    return Part(mark, f"{stage}{time}")


def _merged(parts: Sequence[Part], marks: str) -> list[Part]:
    """Merge adjacent parts with one of these marks into one part that counts them."""
    merged: list[Part] = []
    for mark, group in groupby(parts, key=lambda part: part.mark):
        same = list(group)
        if mark in marks and len(same) > 1:
            merged.append(Part(mark, f"{len(same)} {'done' if mark == '✓' else 'to come'}"))
        else:
            merged += same
    return merged


def _length(parts: Sequence[Part]) -> int:
    return sum(part.cells for part in parts) + len(SEPARATOR) * (len(parts) - 1)


def _draw(part: Part, bar: int) -> Content:
    of_mark, of_name = STYLES[part.mark]
    drawn = Content.styled(part.mark, of_mark) + Content.styled(f" {part.text}", of_name)
    if part.share is None:
        return drawn
    full = round(part.share * bar)
    drawn += Content(" ") + Content.styled("━" * full, "$primary") + Content.styled("╌" * (bar - full), "$faint")
    share = formatting.percent(math.floor(100 * part.share) / 100)  # 100 % only for a finished stage
    return drawn + Content.styled(f"{share:>5}", "bold")
