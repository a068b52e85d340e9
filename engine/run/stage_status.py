"""The status of a run's stages: which are wanted, which are done, which restart. Only the events decide."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.config.stages import MODEL_STAGES, in_order
from engine.core.errors import NanosoloError
from engine.events.history import History, read_history
from engine.run.checkpoints import list_checkpoints
from engine.run.directory import RunDirectory


class StageStatus(NamedTuple):
    """What is left to do in a run, whatever interrupted it."""

    wanted: tuple[str, ...]  # the requested stages until all of them are done; else the pipeline
    requested: bool  # whether `wanted` was requested
    done: frozenset[str]  # last ended as `done`, and not requested since
    begun: frozenset[str]  # ever started
    restart: Mapping[str, str]  # stages to restart -> the folder that keeps their result; "": none
    ever_requested: frozenset[str]
    started: bool  # whether the run was ever started

    @property
    def left(self) -> tuple[str, ...]:
        """The stages still to run; the report is written again after any stage before it."""
        if all(stage in self.done for stage in self.wanted):
            return ()
        return tuple(stage for stage in self.wanted if stage not in self.done or stage == "report")

    def all_stages(self, pipeline: Sequence[str]) -> list[str]:
        """The stages that belong to the run: its pipeline and all that were ever requested, in order."""
        return in_order([*pipeline, *self.ever_requested])


def stage_status(history: History, pipeline: Sequence[str]) -> StageStatus:
    """The status by these events. `pipeline`: the stages of the run's configuration."""
    requests = history.requests
    return StageStatus(
        wanted=requests.requested or tuple(pipeline),
        requested=bool(requests.requested),
        done=frozenset(requests.done),
        begun=frozenset(requests.begun),
        restart=dict(requests.restart),
        ever_requested=frozenset(requests.ever_requested),
        started=history.started is not None,
    )


def read_stage_status(run: RunDirectory, pipeline: Sequence[str]) -> StageStatus:
    """The status by the events on the disk."""
    return stage_status(read_history(run.events_file), pipeline)


def is_finished(run: RunDirectory) -> bool:
    """Whether the run ended well and no requested stage is left."""
    history = read_history(run.events_file)
    ended = history.ended
    pipeline = run.config().pipeline.stages
    return ended is not None and ended.outcome == "done" and not stage_status(history, pipeline).left


def next_command(run: RunDirectory) -> str:
    """What to do with the run now, with the command."""
    if run.is_running():
        return f"follow it: nanosolo attach {run.name}"
    try:
        finished = is_finished(run)
    except NanosoloError:
        return "see what is wrong with it: nanosolo runs"
    return f"read its report: nanosolo report {run.name}" if finished else f"resume it: nanosolo resume {run.name}"


def results_of(run: RunDirectory, status: StageStatus) -> set[str]:
    """The stages whose results exist in the run, whichever run made them."""
    found: set[str] = {stage for stage in MODEL_STAGES if list_checkpoints(run.checkpoints(stage))}
    if run.tokens_file.exists():
        found |= {"data", "tokenize"}
    if run.tokenizer.is_dir():
        found.add("tokenizer")
    return found | ({"data"} & status.done)
