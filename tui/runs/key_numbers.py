"""The key figures of a run: what each is now, how low and high it was, and what was planned."""

import math
from collections.abc import Callable
from typing import NamedTuple

from engine.core import formatting
from engine.core.units import GIB
from engine.events.history import History
from engine.plan.plan import Plan
from engine.run.metrics import measured_peak, pace, peak_of
from engine.run.status import remaining_seconds
from tui.chart.series import Series
from tui.runs.run_series import Feed, latest, value_range

PLANNED = ("", "pretrain")  # stages whose speed and memory the plan's figures are of
WARM = 5  # first steps that compile: kept out of lows and highs


class Figure(NamedTuple):
    """One row. Texts are empty where nothing is known."""

    label: str
    now: str
    low: str = ""
    high: str = ""
    planned: str = ""
    unit: str = ""


class Comparison(NamedTuple):
    """A prediction and what was measured."""

    label: str
    predicted: str
    measured: str
    ratio: float  # measured over predicted, NaN where there is none


def learning_figures(feed: Feed, history: History, plan: Plan | None) -> list[Figure]:
    """What is learned and how fast."""
    # the plan's speed is pretraining's
    time = plan.time if plan is not None and feed.stage in PLANNED else None
    rows = [
        _row("reward", feed.reward, _four, skip=0),
        _row("loss", feed.steps["loss"], _four),
        _row(feed.judged.label, feed.validation, _four, skip=0),
        _row("tokens/s", feed.steps["tokens_per_second"], formatting.count, time.tokens_per_second if time else None),
        _row("MFU", feed.steps["mfu"], _percent, time.mfu if time else None, unit="%"),
        _row("step time", feed.steps["step_seconds"], formatting.duration, time.step_seconds if time else None),
        _row("data wait", feed.steps["data_wait"], _percent_fine, unit="%"),
        _row("grad norm", feed.steps["grad_norm"], _three),
        _row("lr scale", feed.steps["learning_rate_scale"], _three),
    ]
    return [row for row in rows if row is not None]


def machine_figures(feed: Feed, history: History, plan: Plan | None) -> list[Figure]:
    """The GPU where there is one, and the host."""
    machine = feed.machine
    vram = plan.memory.total / GIB if plan is not None and plan.gpu != "cpu" else None
    rows = [
        _row("VRAM", machine["gpu_used"], _gib, vram, unit="GiB"),
        _row("GPU busy", machine["utilization"], _whole, unit="%"),
        _row("GPU temp", machine["temperature"], _whole, unit="°C"),
        _row("GPU power", machine["power"], _whole, unit="W"),
        _row("GPU clock", machine["clock"], _whole, unit="MHz"),
        _row("host RAM", machine["ram_used"], _gib, unit="GiB"),
        _row("host CPU", machine["cpu"], _whole, unit="%"),
        _row("disk free", machine["disk_free"], _gib, unit="GiB"),
    ]
    return [row for row in rows if row is not None]


def brief(feed: Feed, history: History, plan: Plan | None) -> list[tuple[str, str]]:
    """The twelve figures that fit in three short lines, as (label, value); `-` where unknown."""
    machine = history.machine
    peak = measured_peak(history, plan) if plan is not None else None
    gpu = [
        ("VRAM", f"{_gib(latest(feed.machine['gpu_used']))}/{_gib(machine.gpu_total)} G"),
        ("GPU", f"{_whole(latest(feed.machine['utilization']))} %"),
        ("heat", f"{_whole(latest(feed.machine['temperature']))} °C"),
        ("power", f"{_whole(latest(feed.machine['power']))} W"),
    ]
    no_gpu = [
        ("peak", formatting.size(peak)),
        ("CPU", f"{_whole(latest(feed.machine['cpu']))} %"),
        ("step", formatting.duration(latest(feed.steps["step_seconds"]))),
        ("lr", f"×{_three(latest(feed.steps['learning_rate_scale']))}"),
    ]
    learned = ("reward", feed.reward) if len(feed.reward) else ("loss", feed.steps["loss"])
    return [
        (learned[0], _four(latest(learned[1]))),
        (feed.judged.label, _four(latest(feed.validation))),
        ("tokens/s", formatting.count(latest(feed.steps["tokens_per_second"]))),
        ("MFU", f"{_percent(latest(feed.steps['mfu']))} %"),
        *(gpu if machine.has_gpu else no_gpu),
        ("wait", f"{_percent_fine(latest(feed.steps['data_wait']))} %"),
        ("grad", _three(latest(feed.steps["grad_norm"]))),
        ("RAM", f"{_gib(latest(feed.machine['ram_used']))}/{_gib(machine.ram_total)} G"),
        ("disk", f"{_gib(latest(feed.machine['disk_free']))} G"),
    ]


def comparisons(history: History, plan: Plan | None) -> list[Comparison]:
    """Predicted against measured; empty without a plan."""
    if plan is None:
        return []
    columns = history.steps.get("pretrain") or None  # which is what the plan is of
    speed = pace(columns) if columns is not None else None
    step = columns.recent_seconds() if columns is not None else None
    mfus = [value for value in columns.mfu[-64:] if not math.isnan(value)] if columns is not None else []
    mfu = sum(mfus) / len(mfus) if mfus else None
    left = remaining_seconds(history) if history.current == "pretrain" else None
    hours = None
    if columns is not None and columns.step[-1] >= columns.steps:
        left = 0.0
    if left is not None and columns is not None:
        hours = (sum(columns.step_seconds) + left) / 3600
    time, peak = plan.time, peak_of(columns, plan)
    return [
        _compare("tokens/s", time.tokens_per_second, speed, formatting.count),
        _compare("MFU", time.mfu, mfu, formatting.percent),
        _compare("step", time.step_seconds, step, formatting.duration),
        _compare("peak memory", plan.memory.total, peak, lambda v: formatting.sizes(v, plan.memory.total, peak)[0]),
        _compare("training", time.hours, hours, formatting.hours),
    ]


def _compare(
    label: str, predicted: float | None, measured: float | None, show: Callable[[float | None], str]
) -> Comparison:
    ratio = measured / predicted if predicted and measured is not None else math.nan
    return Comparison(label, show(predicted), show(measured), ratio)


def _row(
    label: str,
    series: Series,
    show: Callable[[float], str],
    planned: float | None = None,
    unit: str = "",
    skip: int = WARM,
) -> Figure | None:
    """None for values that this machine does not report."""
    known = value_range(series, skip)
    if known is None:
        return None
    plan = show(planned) if planned is not None else ""
    return Figure(label, show(latest(series)), show(known[0]), show(known[1]), plan, unit)


def _four(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}" if abs(value) < 1000 else formatting.count(value)


def _three(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if abs(value) < 100 else formatting.count(value)


def _gib(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _whole(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.0f}"


def _percent_fine(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
