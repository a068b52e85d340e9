"""Turns a run's history into the series that charts and figures show, adding only what is new."""

from array import array
from itertools import accumulate
from typing import NamedTuple

from engine.events.history import History
from engine.events.machine_columns import READINGS
from engine.events.scores import REWARD
from engine.events.step_columns import StepColumns
from engine.run.status import last_columns
from tui.chart.model import XAxis
from tui.chart.series import Series

STEP_AXES = (XAxis("step"), XAxis("tokens"), XAxis("time", "duration"))  # time: spent in steps, pauses left out
CLOCK_AXIS = (XAxis("time", "duration"),)  # since the run was first started
STEP_COLUMNS = ("loss", "tokens_per_second", "mfu", "grad_norm", "step_seconds", "learning_rate_scale")


class Judged(NamedTuple):
    """By which figure a training stage is judged."""

    metric: str  # of its evaluations
    label: str
    title: str


JUDGED = {
    "midtrain": Judged("val_loss", "val loss", "validation, nats per token"),
    "sft": Judged("val_loss", "val loss", "validation, nats per token"),
    "rl": Judged("pass@1", "pass@1", "right answers to held-out problems"),
}
BY_TEXT = Judged("val_bpb", "val bpb", "validation, bits per byte")  # pretraining, and whatever else there may be


class Feed:
    """The series of the latest training stage, or of the requested one, and of the machine.

    Its points move on with the history; `generation` grows when a series was replaced by another one.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.stage = ""
        self.steps = {name: Series(len(STEP_AXES)) for name in (*STEP_COLUMNS, "data_wait")}
        self.validation = Series(len(STEP_AXES))  # the figure of `judged`
        self.reward = Series(len(STEP_AXES))  # empty but for rl
        self.machine = {name: Series(1) for name in READINGS}
        self._rewinds = 0
        self._readings = 0
        self._trained = 0.0  # seconds in the steps that are in the series
        self._evaluations: dict[str, list[tuple[int, float]]] = {}  # metric -> what is in its series
        self._source: History | None = None

    def __len__(self) -> int:
        return len(self.steps["loss"])

    @property
    def judged(self) -> Judged:
        """What `validation` holds."""
        return JUDGED.get(self.stage, BY_TEXT)

    def update(self, history: History, stage: str | None = None) -> None:
        """Take in what is new, of `stage` where one is named. The history must not change meanwhile."""
        known = last_columns(history) if stage is None else (stage, history.steps[stage])
        trained = known[0] if known is not None else ""
        if history is not self._source or trained != self.stage:
            self._begin(history, trained)
        if known is not None:
            self._add_steps(known[1])
            self._add_evaluations(history, self.judged.metric, self.validation)
            self._add_evaluations(history, REWARD, self.reward)
        self._add_readings(history)

    def _begin(self, history: History, stage: str) -> None:
        generation = self.generation + 1
        self.__init__()  # type: ignore[misc]
        self.generation, self._source, self.stage = generation, history, stage

    def _add_steps(self, columns: StepColumns) -> None:
        if columns.rewinds != self._rewinds:
            # the run went back to an unknown step, so all series are rebuilt; this happens once per resume
            self._rewinds, self._trained, self._evaluations = columns.rewinds, 0.0, {}
            for series in (*self.steps.values(), self.validation, self.reward):
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

    def _add_evaluations(self, history: History, metric: str, series: Series) -> None:
        loss = self.steps["loss"]
        reached = loss.xs[0][-1] if len(loss) else 0.0  # the event of a reward comes before that of its step
        found = [
            (e.step, e.value)
            for e in history.evaluations
            if e.metric == metric and e.stage == self.stage and e.step <= reached
        ]
        known = self._evaluations.get(metric, [])
        if found[: len(known)] != known:
            known = []
            series.truncate_from(float("-inf"))
        for step, value in found[len(known) :]:
            at = loss.nearest(step) if len(loss) else -1
            tokens, seconds = (loss.xs[1][at], loss.xs[2][at]) if at >= 0 and step > 0 else (0.0, 0.0)
            series.append(value, step, tokens, seconds)
        self._evaluations[metric] = found

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
