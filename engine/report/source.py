"""What a report is made from: everything that was read of a run, once."""

import time
from typing import NamedTuple

from engine.config.schema import RunConfig
from engine.config.stages import rests_on
from engine.events.attempts import of_last_pass, seconds_at_work
from engine.events.history import History, read_history
from engine.plan.plan import Plan
from engine.run.directory import RunDirectory
from engine.run.state import state_of

PRETRAIN = "pretrain"
TUNING = ("midtrain", "sft", "rl")  # they train, too, after pretraining


class Source(NamedTuple):
    """A run as it was at one moment."""

    name: str
    config_path: str
    config: RunConfig
    plan: Plan | None
    history: History
    state: str  # what `state_of` says; `finished` also for a run whose report is the last thing left to do
    now: float

    @property
    def outcome(self) -> str | None:
        """How the run ended; None while it has not."""
        if self.history.ended is not None:
            return self.history.ended.outcome
        return "done" if self.state == "finished" else None

    def seconds(self, stage: str) -> float | None:
        """Time at work for the stage's result, resumed or not; None where it was never begun."""
        own = of_last_pass(self.history.attempts, stage)
        return seconds_at_work(own, self.history.last_time) if own else None

    def made_again(self, stage: str) -> str | None:
        """The last stage under a stage that was made again since it ran: what it found is of earlier weights."""
        seen = self.history.stages
        ran = seen[stage].started if stage in seen else None
        newer = [below for below in rests_on(stage) if below in seen and ran is not None and seen[below].started > ran]
        return newer[-1] if newer else None

    @property
    def all_seconds(self) -> float:
        """Time at work of the whole run, repeated stages included."""
        return seconds_at_work(self.history.attempts, self.history.last_time)


def read_source(run: RunDirectory, history: History | None = None) -> Source:
    """Read the run. Raises UsageError where its configuration is damaged; all else may be missing."""
    config = run.config()
    history = history or read_history(run.events_file)
    state = state_of(run, history)
    before = [stage for stage in config.pipeline.stages if stage != "report"]
    at_last = history.ended is None and history.current == "report"
    if at_last and all((view := history.stages.get(s)) and view.ended and view.ended.outcome == "done" for s in before):
        state = "finished"
    return Source(run.name, str(run.config_file), config, run.plan(), history, state, time.time())
