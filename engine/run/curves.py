"""The report's picture: loss, bits per byte and throughput over tokens, as one SVG."""

import io
from collections.abc import Sequence
from pathlib import Path

from engine.files import write_atomically
from engine.run.events import Evaluation
from engine.run.history import StepColumns

MOST_POINTS = 4000  # more make a file that viewers choke on, and show no more
SMOOTHING = 0.95
INK, ACCENT, SECOND, GRID = "#1f2933", "#2563a8", "#c2571a", "#d9dee4"


def draw_curves(columns: StepColumns, evaluations: Sequence[Evaluation], path: Path) -> bool:
    """Draw into `path` and return True; False when there is nothing to draw."""
    if len(columns) < 2:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    every = max(1, len(columns) // MOST_POINTS)
    tokens = [count / 1e6 for count in columns.tokens[::every]]
    figure = Figure(figsize=(8, 6.2), layout="constrained")
    loss, speed = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    loss.plot(tokens, columns.loss[::every], color=ACCENT, alpha=0.3, linewidth=0.8)
    loss.plot(tokens, _smooth(columns.loss)[::every], color=ACCENT, linewidth=1.8, label="training loss, smoothed")
    loss.set_ylabel("nats per token")
    at = dict(zip(columns.step, columns.tokens, strict=True)) | {0: 0}
    points = [(at[e.step] / 1e6, e.value) for e in evaluations if e.metric == "val_bpb" and e.step in at]
    if points:
        other = loss.twinx()
        xs, ys = zip(*points, strict=True)
        other.plot(xs, ys, "o--", color=SECOND, markersize=5, linewidth=1, label="validation bits per byte (right)")
        other.set_ylabel("bits per byte", color=SECOND)
        other.spines[["top"]].set_visible(False)
        handles = [*loss.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
        loss.legend(handles=handles, frameon=False, loc="upper right")
    else:
        loss.legend(frameon=False, loc="upper right")
    speed.plot(tokens, columns.tokens_per_second[::every], color=INK, linewidth=0.8)
    speed.set_ylabel("tokens/s")
    speed.set_ylim(bottom=0)
    speed.set_xlabel("million tokens")
    for axes in (loss, speed):
        axes.grid(color=GRID, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    drawing = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "nanosolo"}):
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    write_atomically(path, drawing.getvalue())
    return True


def _smooth(values: Sequence[float]) -> list[float]:
    """A debiased moving average that passes over values that are not numbers."""
    found, mean, weight = [], 0.0, 0.0
    for value in values:
        if value == value:
            mean = SMOOTHING * mean + (1 - SMOOTHING) * value
            weight = SMOOTHING * weight + (1 - SMOOTHING)
        found.append(mean / weight if weight else float("nan"))
    return found
