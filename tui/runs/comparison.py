"""Runs side by side: what each reached at equal tokens and at equal time, and where their settings differ."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.config.schema import RunConfig, fields, get
from tui.chart.series import Series
from tui.runs.run_series import Feed

TOKENS, TIME = 1, 2  # axes of the feed's series
LEFT_OUT = ("about.preset", "about.description", "about.expected_hours")


class Standing(NamedTuple):
    """One run's value where all runs have come to, and its distance from the first run's. NaN where unknown."""

    value: float
    delta: float


class Level(NamedTuple):
    """The furthest that every run has come to on one axis, and how each stood there."""

    at: float  # tokens or seconds; NaN where a run has nothing yet
    standings: tuple[Standing, ...]


def standings(series: Sequence[Series], axis: int, smoothing: float) -> Level:
    """Compare at the same tokens (axis 1) or the same time in steps (axis 2): the smoothed value at or before there."""
    if not series or not all(len(one) for one in series):
        return Level(math.nan, tuple(Standing(math.nan, math.nan) for _ in series))
    at = min(one.xs[axis][-1] for one in series)
    values = [_value_at(one, axis, at, smoothing) for one in series]
    return Level(at, tuple(Standing(value, value - values[0]) for value in values))


def _value_at(series: Series, axis: int, x: float, smoothing: float) -> float:
    stop = series.span(-math.inf, x, axis)[1]
    values = series.values(smoothing).values
    return next((values[i] for i in range(stop - 1, -1, -1) if math.isfinite(values[i])), math.nan)


def series_of(feed: Feed, metric: str) -> Series:
    """The series of a metric of a feed."""
    return feed.validation if metric == "val_bpb" else feed.steps[metric]


def differences(configs: Mapping[str, RunConfig | None]) -> list[tuple[str, tuple[str, ...]]]:
    """(dotted path, value of each run) of the settings that are not the same in all; `?` for unreadable ones."""
    found = []
    for path, _field in fields():
        if path in LEFT_OUT:
            continue
        values = [_show(get(config, path)) if config is not None else "?" for config in configs.values()]
        if len({value for value in values if value != "?"}) > 1:
            found.append((path, tuple(values)))
    return found


def _show(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000 else str(value)
