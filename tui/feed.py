"""Turns a run's history into the series that charts and figures show, adding only what is new."""

from array import array
from itertools import accumulate

from engine.run.history import History, StepColumns
from engine.run.machine import READINGS
from engine.run.verdict import last_columns
from tui.chart.model import XAxis
from tui.chart.series import Series

STEP_AXES = (XAxis("step"), XAxis("tokens"), XAxis("time", "duration"))  # time: spent in steps, pauses left out
CLOCK_AXIS = (XAxis("time", "duration"),)  # since the run was first started
STEP_COLUMNS = ("loss", "tokens_per_second", "mfu", "grad_norm", "step_seconds", "learning_rate_scale")


class Feed:
    """The series of the training stage that was at work last, and of the machine.

    Its points move on with the history; `generation` grows when a series was replaced by another one.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.stage = ""
        self.steps = {name: Series(len(STEP_AXES)) for name in (*STEP_COLUMNS, "data_wait")}
        self.val_bpb = Series(len(STEP_AXES))
        self.machine = {name: Series(1) for name in READINGS}
        self._rewinds = 0
        self._readings = 0
        self._trained = 0.0  # seconds in the steps that are in the series
        self._evaluations: list[tuple[int, float]] = []
        self._source: History | None = None

    def __len__(self) -> int:
        return len(self.steps["loss"])

    def update(self, history: History) -> None:
        """Take in what is new. The history must not change meanwhile."""
        known = last_columns(history)
        stage = known[0] if known is not None else ""
        if history is not self._source or stage != self.stage:
            self._begin(history, stage)
        if known is not None:
            self._add_steps(known[1])
            self._add_evaluations(history, known[1])
        self._add_readings(history)

    def _begin(self, history: History, stage: str) -> None:
        generation = self.generation + 1
        self.__init__()  # type: ignore[misc]
        self.generation, self._source, self.stage = generation, history, stage

    def _add_steps(self, columns: StepColumns) -> None:
        if columns.rewinds != self._rewinds:
            # the run went back: where to is not told, so all is laid out anew; it happens once a resume
            self._rewinds, self._trained, self._evaluations = columns.rewinds, 0.0, []
            for series in (*self.steps.values(), self.val_bpb):
                series.truncate_from(float("-inf"))
        start = len(self)
        if start == len(columns):
            return
        times = list(accumulate(columns.step_seconds[start:], initial=self._trained))[1:]
        self._trained = times[-1]
        xs = (array("d", columns.step[start:]), array("d", columns.tokens[start:]), times)
        for name in STEP_COLUMNS:
            self.steps[name].extend(getattr(columns, name)[start:], *xs)
        seconds, waits = columns.step_seconds[start:], columns.data_seconds[start:]
        shares = [w / s if s > 0 else float("nan") for w, s in zip(waits, seconds, strict=True)]
        self.steps["data_wait"].extend(shares, *xs)

    def _add_evaluations(self, history: History, columns: StepColumns) -> None:
        found = [(e.step, e.value) for e in history.evaluations if e.metric == "val_bpb" and e.stage == self.stage]
        if found[: len(self._evaluations)] != self._evaluations:
            self._evaluations = []
            self.val_bpb.truncate_from(float("-inf"))
        loss = self.steps["loss"]
        for step, value in found[len(self._evaluations) :]:
            at = loss.nearest(step) if len(loss) else -1
            tokens, seconds = (loss.xs[1][at], loss.xs[2][at]) if at >= 0 and step > 0 else (0.0, 0.0)
            self.val_bpb.append(value, step, tokens, seconds)
        self._evaluations = found

    def _add_readings(self, history: History) -> None:
        machine = history.machine
        start = self._readings
        if start == len(machine):
            return
        origin = history.first_started if history.first_started is not None else machine.time[0]
        times = [t - origin for t in machine.time[start:]]
        for name, series in self.machine.items():
            series.extend(machine[name][start:], times)
        self._readings = len(machine)


def value_range(series: Series, skip: int = 0) -> tuple[float, float] | None:
    """Smallest and largest finite value after the first `skip`; None where there is none."""
    low, high = series.raw.bounds(min(skip, max(0, len(series) - 1)), len(series))
    return (low, high) if low <= high else None


def latest(series: Series) -> float:
    """The newest value, NaN where there is none."""
    return series.raw.values[-1] if len(series) else float("nan")
