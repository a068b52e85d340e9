"""The data behind a report: everything about a run, read once."""

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
TUNING = ("midtrain", "sft", "rl")  # stages that train after pretraining


class Source(NamedTuple):
    """A run at one moment."""

    name: str
    config_path: str
    config: RunConfig
    plan: Plan | None
    history: History
    state: str  # as `state_of` gives it; also `finished` if only the report is left to write
    now: float

    @property
    def outcome(self) -> str | None:
        """How the run ended; None if it has not."""
        if self.history.ended is not None:
            return self.history.ended.outcome
        return "done" if self.state == "finished" else None

    def seconds(self, stage: str) -> float | None:
        """Run time of the stage, over all its attempts; None if it never started."""
        own = of_last_pass(self.history.attempts, stage)
        return seconds_at_work(own, self.history.last_time) if own else None

    def made_again(self, stage: str) -> str | None:
        """The latest stage below this one that has run again since: the result belongs to earlier weights."""
        seen = self.history.stages
        ran = seen[stage].started if stage in seen else None
        newer = [below for below in rests_on(stage) if below in seen and ran is not None and seen[below].started > ran]
        return newer[-1] if newer else None

    @property
    def all_seconds(self) -> float:
        """Run time of the whole run, with repeated stages."""
        return seconds_at_work(self.history.attempts, self.history.last_time)


def read_source(run: RunDirectory, history: History | None = None) -> Source:
    """Read the run. Raises UsageError if its configuration is damaged; everything else may be missing."""
    config = run.config()
    history = history or read_history(run.events_file)
    state = state_of(run, history)
    before = [stage for stage in config.pipeline.stages if stage != "report"]
    at_last = history.ended is None and history.current == "report"
    if at_last and all((view := history.stages.get(s)) and view.ended and view.ended.outcome == "done" for s in before):
        state = "finished"
    return Source(run.name, str(run.config_file), config, run.plan(), history, state, time.time())
