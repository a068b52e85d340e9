"""The charts of a run: losses, bits per byte, speed, memory and gradients, over tokens or over run time."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine.core import formatting
from engine.core.units import GIB
from engine.events.attempts import WorkClock
from engine.events.scores import LOWER, REWARD
from engine.events.step_columns import StepColumns
from engine.report.document import Block, Column, Picture, Pictures, Section, Table
from engine.report.draw import ACCENT, FAINT, MUTED, SECOND, THIRD, Level, Line, Panel, draw, short
from engine.report.measured import held_out, mean, mean_tail, tail_words
from engine.report.results import figure
from engine.report.source import PRETRAIN, TUNING, Source
from engine.report.thin import envelope, every, smooth

ROWS = 12  # of the table next to the curves
# longest time in seconds -> unit of an axis
TIMES = ((300.0, "seconds", 1.0), (3 * 3600.0, "minutes", 60.0), (math.inf, "hours", 3600.0))
HELD_OUT = {"sft": "val_loss", "midtrain": "val_loss", "rl": "pass@1"}  # what is evaluated while a stage trains


class Drawn(NamedTuple):
    """A panel with its title and caption."""

    key: str
    title: str
    caption: str
    panel: Panel


def curves_section(source: Source) -> Section | None:
    """None if there is nothing to draw."""
    found = list(_panels(source))
    if not found:
        return None
    pictures = tuple(Picture(d.title, d.caption, draw([d.panel], d.key).decode()) for d in found)
    first = [drawn.panel for drawn in found if drawn.key in ("loss", "bpb", "speed")]
    blocks: list[Block] = [Pictures(pictures, draw(first, "curves", inline=False) if first else b"")]
    table = _table(source)
    return Section("curves", "Curves", (*blocks, *([table] if table else [])))


def _panels(source: Source) -> Iterator[Drawn]:
    columns = source.history.columns(PRETRAIN)
    if len(columns):
        yield _loss(PRETRAIN, columns)
        yield from _bits_per_byte(source, columns)
        yield _speed(source, columns)
    yield from _memory(source)
    for stage in TUNING:
        own = source.history.steps.get(stage)
        if own is not None and len(own):
            yield from _tuning(source, stage, own)
    if len(columns):
        yield from _gradients(columns)


def _over_tokens(y_label: str, lines: Sequence[Line], **settings: object) -> Panel:
    return Panel("tokens", y_label, tuple(lines), x_words=short, **settings)  # type: ignore[arg-type]


def _loss(stage: str, columns: StepColumns) -> Drawn:
    last = next((value for value in reversed(columns.loss) if math.isfinite(value)), None)
    tail = f"{figure(mean_tail(columns))} as {tail_words(columns)}"
    lines = _raw_and_smooth(columns.tokens, columns.loss, "each step", "smoothed")
    said = f"Nats per token for each step, and smoothed; {figure(last)} at the last step, {tail}."
    if stage == PRETRAIN:
        return Drawn("loss", "Training loss", said, _over_tokens(f"nats per token, {LOWER}", lines, may_be_log=True))
    return Drawn(f"{stage}-loss", f"Loss of {stage}", said, _over_tokens(f"nats per token, {LOWER}", lines))


def _raw_and_smooth(xs: Sequence[float], ys: Sequence[float], raw: str, smoothed: str) -> list[Line]:
    return [
        Line(*envelope(xs, ys), FAINT, raw, 0.8),
        Line(every(xs), every(smooth(ys)), ACCENT, smoothed, 1.7),
    ]


def _bits_per_byte(source: Source, columns: StepColumns) -> Iterator[Drawn]:
    at = dict(zip(columns.step, columns.tokens, strict=True)) | {0: 0}
    own = [e for e in held_out(source.history) if e.step in at]
    if own:
        xs, ys = [float(at[e.step]) for e in own], [e.value for e in own]
        line = Line(xs, ys, SECOND, "", 1.4, points=len(own) <= 60)
        said = f"Bits per byte on held-out text: {ys[0]:.4f} at first, {min(ys):.4f} at best, {ys[-1]:.4f} at last."
        yield Drawn("bpb", "Validation", said, _over_tokens(f"bits per byte, {LOWER}", [line], may_be_log=True))


def _speed(source: Source, columns: StepColumns) -> Drawn:
    predicted = source.plan.time.tokens_per_second if source.plan is not None else None
    levels = (Level(predicted, SECOND, "predicted"),) if predicted is not None else ()
    lines = _raw_and_smooth(columns.tokens, columns.tokens_per_second, "each step", "smoothed")
    prediction = f"; predicted: {formatting.count(predicted)}" if predicted is not None else ""
    panel = _over_tokens("tokens/s", lines, levels=levels, y_words=short, from_zero=True)
    return Drawn("speed", "Speed", f"tokens/s for each step, and smoothed{prediction}.", panel)


def _memory(source: Source) -> Iterator[Drawn]:
    machine, plan = source.history.machine, source.plan
    clock = WorkClock(source.history.attempts, source.history.last_time)
    longest = clock.spans[-1][2] if clock.spans else 0.0
    unit, scale = next((unit, scale) for most, unit, scale in TIMES if longest <= most)
    moments = [seconds / scale for seconds in clock.at(machine.time)]
    bands = tuple((stage, begin / scale, end / scale) for stage, begin, end in clock.spans)
    for key, title, column, total in (
        ("gpu-memory", "GPU memory", "gpu_used", machine.gpu_total),
        ("host-memory", "Host memory", "ram_used", machine.ram_total),
    ):
        used = machine[column]
        most = max((value for value in used if math.isfinite(value)), default=None)
        if most is None:
            continue
        levels = [Level(total, SECOND, "capacity")] if math.isfinite(total) else []
        prediction = ""
        if key == "gpu-memory" and plan is not None and plan.gpu != "cpu":
            levels.append(Level(plan.memory.total / GIB, THIRD, "predicted peak"))
            prediction = f"; predicted: {formatting.size(plan.memory.total)}"
        of = f" of {formatting.size(total * GIB)}" if math.isfinite(total) else ""
        said = f"Memory in use on the machine, by any process: at most {formatting.size(most * GIB)}{of}{prediction}."
        line = Line(*envelope(moments, used), ACCENT, "in use", 1.4)
        yield Drawn(key, title, said, Panel(f"run time, {unit}", "GiB", (line,), tuple(levels), bands, from_zero=True))


def _tuning(source: Source, stage: str, columns: StepColumns) -> Iterator[Drawn]:
    at = dict(zip(columns.step, columns.tokens, strict=True)) | {0: 0}

    def evaluated(metric: str) -> tuple[list[float], list[float]]:
        own = [e for e in source.history.evaluations if (e.stage, e.metric) == (stage, metric) and e.step in at]
        return [float(at[e.step]) for e in own], [e.value for e in own]

    xs, ys = evaluated(HELD_OUT[stage])
    held_out = Line(xs, ys, SECOND, "held out", 1.4, points=len(xs) <= 60)
    if stage != "rl":
        drawn = _loss(stage, columns)
        lines = (*drawn.panel.lines, *([held_out] if xs else []))
        held = f" On held-out answers: {ys[0]:.4f} at first, {ys[-1]:.4f} at last." if ys else ""
        yield drawn._replace(panel=drawn.panel._replace(lines=lines), caption=drawn.caption + held)
        return
    times, rewards = evaluated(REWARD)
    if times:
        lines = (*_raw_and_smooth(times, rewards, "each step", "smoothed"), *([held_out] if xs else []))
        held = f"; pass@1 on held-out problems {ys[0]:.4f} at first, {ys[-1]:.4f} at last" if ys else ""
        said = f"Share of correct answers for each step, and smoothed{held}."
        yield Drawn("rl-reward", "Reward", said, _over_tokens("reward", lines, from_zero=True))


def _gradients(columns: StepColumns) -> Iterator[Drawn]:
    lines = _raw_and_smooth(columns.tokens, columns.grad_norm, "each step", "smoothed")
    if any(map(math.isfinite, columns.grad_norm)):
        panel = _over_tokens("gradient norm", lines, may_be_log=True)
        yield Drawn("gradient", "Gradient norm", "Before clipping, for each step, and smoothed.", panel)
    xs, ys = envelope(columns.tokens, columns.learning_rate_scale)
    panel = _over_tokens("share of the peak", [Line(xs, ys, MUTED, "", 1.6)], from_zero=True)
    yield Drawn("rate", "Learning rate", "As a share of its peak.", panel)


def _table(source: Source) -> Table | None:
    """The loss in numbers: means over a dozen stretches."""
    columns = source.history.columns(PRETRAIN)
    if not len(columns):
        return None
    bpb = {e.step: e.value for e in held_out(source.history)}
    marks = sorted({round(i * (len(columns) - 1) / (ROWS - 1)) for i in range(ROWS)})
    rows = []
    for begin, end in zip([0, *(mark + 1 for mark in marks)], marks, strict=False):
        window = [value for value in columns.loss[begin : end + 1] if math.isfinite(value)]
        since, until = columns.step[begin] if begin else 0, columns.step[end]
        evaluated = [bpb[step] for step in sorted(bpb) if since <= step <= until]
        newest = figure(evaluated[-1] if evaluated else None)
        rows.append((f"{until:,}", formatting.count(columns.tokens[end]), figure(mean(window)), newest))
    heads = (
        Column("step", "number"),
        Column("tokens", "number"),
        Column("mean loss since the row above", "number"),
        Column("validation bits per byte", "number"),
    )
    return Table(heads, tuple(rows), "Pretraining in figures", folded=True)
