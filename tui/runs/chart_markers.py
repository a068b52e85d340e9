"""Marks what happened on a chart's x axis: evaluations, checkpoints, resumptions, NaN, out of memory."""

import math
from collections.abc import Sequence

from engine.core import formatting
from engine.events.history import History
from tui.chart.glyphs import EventKind
from tui.chart.widget import Chart
from tui.runs.run_series import Feed

MOST = 400  # marks of one kind on a chart; more than there are columns add nothing


class Markers:
    """Adds to charts the marks that are not there yet."""

    def __init__(self) -> None:
        self._placed: set[tuple[EventKind, int]] = set()

    def update(self, charts: Sequence[Chart], history: History, feed: Feed) -> None:
        """Bring the marks of the feed's stage up to the history."""
        stage = feed.stage
        found: list[tuple[EventKind, int, str]] = []
        for evaluation in history.evaluations[-MOST:]:
            if evaluation.stage == stage and evaluation.metric == feed.judged.metric:
                found.append(("eval", evaluation.step, f"{feed.judged.label} {evaluation.value:.4f}"))
        for checkpoint in history.checkpoints[-MOST:]:
            if checkpoint.stage == stage:
                found.append(("checkpoint", checkpoint.step, f"checkpoint, {formatting.size(checkpoint.bytes)}"))
        found += [
            ("resume", resumed.step, f"resumed after step {resumed.step:,}")
            for resumed in history.resumes
            if resumed.stage == stage
        ]
        found += [("nan", gone.step, gone.what) for gone in history.diverged if gone.stage == stage]
        found += [
            ("oom", full.step, f"out of memory: {full.phase}") for full in history.out_of_memory if full.stage == stage
        ]
        loss = feed.steps["loss"]
        for kind, step, label in found:
            if (kind, step) in self._placed:
                continue
            self._placed.add((kind, step))
            at = loss.nearest(step) if len(loss) else -1
            xs = {
                "step": float(step),
                "tokens": loss.xs[1][at] if at >= 0 else math.nan,
                "time": loss.xs[2][at] if at >= 0 else math.nan,
            }
            for chart in charts:
                chart.add_marker(xs, kind, label)
