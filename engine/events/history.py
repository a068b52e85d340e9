"""The story that a run's events tell, folded into columns and facts: what console, attach, report and runs read."""

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
from engine.events.step_columns import StepColumns

CLOCK_TOLERANCE = 5.0  # seconds; runner and stage write to one file, so lines may be a little out of order
# lists of events that tell of one stage each
OF_STAGES = ("evaluations", "samples", "checkpoints", "resumes", "out_of_memory", "diverged", "warnings")


class StageView(NamedTuple):
    """One stage as far as it has got."""

    stage: str
    started: float
    pid: int
    ended: StageEnded | None


class History:
    """All that the events say so far. Feed it with `apply`, in order."""

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.starts: list[RunStarted] = []  # of all runners, in order
        self.first_started: float | None = None
        self.ended: RunEnded | None = None
        self.stages: dict[str, StageView] = {}
        self.attempts: list[attempts.Attempt] = []  # every time that a stage was at work, in order
        self.whole = True  # False: events in between were passed over, so not all attempts are known
        self.asked: tuple[str, ...] = ()  # the stages that were asked for last, apart from the pipeline
        self.is_to_begin = False  # stages were asked for, and no runner has begun since
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
        self.damaged = 0  # lines of the file that were not an event we know
        self.clock_jumps = 0  # how often the time of events went backwards

    def apply(self, event: AnyEvent) -> None:
        """Take in one event."""
        before = self.last_time
        if before is not None and event.t < before - CLOCK_TOLERANCE:
            self.clock_jumps += 1
        self.last_time = event.t
        match event:
            case Step():
                if self.current is None:  # the line that began the stage is damaged or gone
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
            case Evaluation():
                self.evaluations.append(event)
            case Sample():
                self.samples.append(event)
            case Checkpoint():
                self.checkpoints.append(event)
            case Resumed():
                self._go_back(event)
            case RunStarted():
                self.started, self.ended, self.is_to_begin = event, None, False
                self.starts.append(event)
                attempts.cut_off(self.attempts, before)
                self.first_started = self.first_started or event.t
            case RunEnded():
                self.ended, self.current = event, None
                attempts.cut_off(self.attempts, before)
            case StagesAsked():
                self.is_to_begin = True
                self.asked = event.stages
                for stage in event.anew:
                    self.stages.pop(stage, None)
            case StageAnew():
                self._forget(event.stage)
            case StageStarted():
                self.stages[event.stage] = StageView(event.stage, event.t, event.pid, None)
                attempts.begin(self.attempts, event.stage, event.t, before)
                self.current, self.progress, self.progress_from = event.stage, None, None
            case StageEnded():
                begun = self.stages.get(event.stage)
                started = begun.started if begun else event.t - event.seconds
                self.stages[event.stage] = StageView(event.stage, started, begun.pid if begun else 0, event)
                attempts.end(self.attempts, event)
                self.current = None
            case Device():
                self.devices[event.stage] = event
            case Advice():
                self.advice.append(event)
            case OutOfMemory():
                self.out_of_memory.append(event)
            case Diverged():
                self.diverged.append(event)
            case Warning():
                self.warnings.append(event)

    def apply_all(self, events: Iterable[AnyEvent]) -> None:
        """Take in many events: the same as `apply` for each, several times as fast."""
        steps: list[Step] = []
        for event in events:
            if type(event) is Step and self.current == event.stage:
                if self.last_time is not None and event.t < self.last_time - CLOCK_TOLERANCE:
                    self.clock_jumps += 1
                self.last_time = event.t
                steps.append(event)
            else:
                # what the machine did stands in columns of its own; all else may look at the steps before it
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
        """What a stage told belongs to a result that is no longer its own."""
        old = self.steps.pop(stage, None)
        if old is not None:  # at the end of the order, as it is the one that trains last
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
        # what was evaluated or sampled beyond that step belongs to weights that are gone
        self.evaluations = [e for e in self.evaluations if e.stage != event.stage or e.step <= event.step]
        self.samples = [s for s in self.samples if s.stage != event.stage or s.step <= event.step]


def read_history(path: Path) -> History:
    """The history of a whole events.jsonl."""
    history, reader = History(), EventReader(path)
    for events in reader.batches(READ_BYTES):
        history.apply_all(events)
    history.damaged = reader.damaged
    return history
