"""The fold of a run's events into columns and facts. Everything that shows or judges a run reads this."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from engine.events import attempts
from engine.events.kinds import (
    Advice,
    AnyEvent,
    Checkpoint,
    Device,
    Diverged,
    Evaluation,
    Event,
    OutOfMemory,
    Progress,
    Resumed,
    RunEnded,
    RunStarted,
    Sample,
    StageAnew,
    StageEnded,
    StagesAsked,
    StageStarted,
    Step,
    System,
    Warning,
)
from engine.events.log import READ_BYTES, EventReader
from engine.events.machine_columns import MachineColumns
from engine.events.stage_requests import StageRequests
from engine.events.step_columns import StepColumns

CLOCK_TOLERANCE = 5.0  # seconds; runner and stage write to one file, so lines may be a little out of order
# kinds of events that are kept as they are -> the list that keeps them
LISTS: dict[type[Event], str] = {
    Evaluation: "evaluations",
    Sample: "samples",
    Checkpoint: "checkpoints",
    Advice: "advice",
    OutOfMemory: "out_of_memory",
    Diverged: "diverged",
    Warning: "warnings",
}
# lists whose events belong to one stage each
OF_STAGES = ("evaluations", "samples", "checkpoints", "resumes", "out_of_memory", "diverged", "warnings")


class StageView(NamedTuple):
    """A stage that was started."""

    stage: str
    started: float
    pid: int
    ended: StageEnded | None


class History:
    """All that the events say so far. Call `apply` with each event, in order."""

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.starts: list[RunStarted] = []  # of all runners, in order
        self.first_started: float | None = None
        self.ended: RunEnded | None = None
        self.stages: dict[str, StageView] = {}
        self.attempts: list[attempts.Attempt] = []  # each start of each stage, in order
        self.whole = True  # False: events in the middle were skipped, so not all attempts are known
        self.requests = StageRequests()  # which stages are wanted, done or to restart
        self.current: str | None = None
        self.progress: Progress | None = None
        self.progress_from: Progress | None = None  # the first of the same unit in this stage: rates count from there
        self.devices: dict[str, Device] = {}
        self.steps: dict[str, StepColumns] = {}
        self.evaluations: list[Evaluation] = []
        self.samples: list[Sample] = []
        self.checkpoints: list[Checkpoint] = []
        self.resumes: list[Resumed] = []
        self.advice: list[Advice] = []
        self.out_of_memory: list[OutOfMemory] = []
        self.diverged: list[Diverged] = []
        self.warnings: list[Warning] = []
        self.system: System | None = None
        self.machine = MachineColumns()
        self.last_time: float | None = None
        self.damaged = 0  # lines of the file that were not a known event
        self.clock_jumps = 0  # how often the time of events went backwards

    def apply(self, event: AnyEvent) -> None:
        """Take in one event."""
        before = self.last_time
        if before is not None and event.t < before - CLOCK_TOLERANCE:
            self.clock_jumps += 1
        self.last_time = event.t
        match event:
            case Step():
                if self.current is None:  # the line of the stage's start is damaged or missing
                    self.stages.setdefault(event.stage, StageView(event.stage, event.t, 0, None))
                    self.current = event.stage
                self.columns(event.stage).append(event)
            case System():
                self.system = event
                self.machine.append(event)
            case Progress():
                first = self.progress_from
                if first is None or (first.stage, first.unit) != (event.stage, event.unit) or event.done < first.done:
                    self.progress_from = event
                self.progress = event
            case Resumed():
                self._go_back(event)
            case RunStarted():
                self.started, self.ended, self.requests.unclaimed = event, None, False
                self.starts.append(event)
                attempts.cut_off(self.attempts, before)
                self.first_started = self.first_started or event.t
            case RunEnded():
                self.ended, self.current = event, None
                attempts.cut_off(self.attempts, before)
            case StagesAsked():
                self.requests.request(event)
                for stage in event.anew:
                    self.stages.pop(stage, None)
            case StageAnew():
                self.requests.restart.pop(event.stage, None)
                self._forget(event.stage)
            case StageStarted():
                self.requests.begun.add(event.stage)
                self.stages[event.stage] = StageView(event.stage, event.t, event.pid, None)
                attempts.begin(self.attempts, event.stage, event.t, before)
                self.current, self.progress, self.progress_from = event.stage, None, None
            case StageEnded():
                begun = self.stages.get(event.stage)
                started = begun.started if begun else event.t - event.seconds
                self.stages[event.stage] = StageView(event.stage, started, begun.pid if begun else 0, event)
                attempts.end(self.attempts, event)
                self.requests.end(event)
                self.current = None
            case Device():
                self.devices[event.stage] = event
            case _:
                getattr(self, LISTS[type(event)]).append(event)

    def apply_all(self, events: Iterable[AnyEvent]) -> None:
        """Take in many events: the same result as `apply` for each, several times faster."""
        steps: list[Step] = []
        for event in events:
            if type(event) is Step and self.current == event.stage:
                if self.last_time is not None and event.t < self.last_time - CLOCK_TOLERANCE:
                    self.clock_jumps += 1
                self.last_time = event.t
                steps.append(event)
            else:
                # machine readings have columns of their own; all other events may need the steps before them
                if steps and type(event) is not System:
                    self.columns(steps[0].stage).extend(steps)
                    steps = []
                self.apply(event)
        if steps:
            self.columns(steps[0].stage).extend(steps)

    def columns(self, stage: str) -> StepColumns:
        """The steps of a stage, empty if it has none yet."""
        return self.steps.setdefault(stage, StepColumns())

    def latest(self, metric: str) -> Evaluation | None:
        """The newest value of a metric."""
        return next((e for e in reversed(self.evaluations) if e.metric == metric), None)

    def _forget(self, stage: str) -> None:
        """The stage restarts: drop the events of its archived result."""
        old = self.steps.pop(stage, None)
        if old is not None:  # moved to the end: the stage trains last
            self.steps[stage] = fresh = StepColumns()
            fresh.rewinds = old.rewinds + 1
        self.stages.pop(stage, None)
        self.devices.pop(stage, None)
        attempts.give_up(self.attempts, stage)
        for name in OF_STAGES:
            setattr(self, name, [event for event in getattr(self, name) if event.stage != stage])

    def _go_back(self, event: Resumed) -> None:
        self.resumes.append(event)
        self.columns(event.stage).forget_after(event.step)
        # evaluations and samples after that step belong to weights that no longer exist
        self.evaluations = [e for e in self.evaluations if e.stage != event.stage or e.step <= event.step]
        self.samples = [s for s in self.samples if s.stage != event.stage or s.step <= event.step]


def read_history(path: Path) -> History:
    """The history of a whole events.jsonl."""
    history, reader = History(), EventReader(path)
    for events in reader.batches(READ_BYTES):
        history.apply_all(events)
    history.damaged = reader.damaged
    return history
