"""Where a run stands by its events: which stages are wanted, which of them are done, which are to begin anew."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.config.stages import MODEL_STAGES, STAGES, in_order
from engine.core.errors import NanosoloError
from engine.events.history import read_history
from engine.events.kinds import RunStarted, StageAnew, StageEnded, StagesAsked, StageStarted
from engine.events.log import read_events
from engine.run.checkpoints import list_checkpoints
from engine.run.directory import RunDirectory


class Standing(NamedTuple):
    """What there is to do. Nothing but the events says so, whatever interrupted the run."""

    wanted: tuple[str, ...]  # those that were asked for and are not all done; else the pipeline
    asked: bool  # whether they were asked for
    done: frozenset[str]  # whose last end was `done`, and that were not asked for since
    begun: frozenset[str]  # that ever began
    anew: Mapping[str, str]  # stages to begin from their beginning -> the folder that keeps their result, "": none
    ever_asked: frozenset[str]
    started: bool  # whether the run was ever started

    @property
    def left(self) -> tuple[str, ...]:
        """What is still to run; a report is written again after anything before it."""
        if all(stage in self.done for stage in self.wanted):
            return ()
        return tuple(stage for stage in self.wanted if stage not in self.done or stage == "report")

    def line(self, pipeline: Sequence[str]) -> list[str]:
        """The stages that belong to the run: its pipeline's and those that were ever asked for."""
        return in_order([*pipeline, *self.ever_asked])


def read_standing(run: RunDirectory, pipeline: Sequence[str]) -> Standing:
    """Read it from the events. `pipeline`: the stages of the run's configuration."""
    asked: tuple[str, ...] = ()
    done: set[str] = set()
    begun: set[str] = set()
    anew: dict[str, str] = {}
    ever_asked: set[str] = set()
    started = False
    for event in read_events(run.events_file):
        match event:
            case RunStarted():
                started = True
            case StagesAsked():
                # the file may come from anywhere: what is no stage is not run, and nothing moves out of its folder
                asked = tuple(stage for stage in event.stages if stage in STAGES)
                ever_asked.update(asked)
                done.difference_update(asked)
                anew.update({stage: kept for stage, kept in event.anew.items() if _is_ours(stage, kept)})
            case StageAnew():
                anew.pop(event.stage, None)
            case StageStarted():
                begun.add(event.stage)
            case StageEnded():
                done.discard(event.stage)
                if event.outcome == "done":
                    done.add(event.stage)
                if all(stage in done for stage in asked):
                    asked = ()
    return Standing(
        wanted=asked or tuple(pipeline),
        asked=bool(asked),
        done=frozenset(done),
        begun=frozenset(begun),
        anew=anew,
        ever_asked=frozenset(ever_asked),
        started=started,
    )


def _is_ours(stage: str, kept: str) -> bool:
    return stage in STAGES and (not kept or re.fullmatch(rf"{stage}\.[1-9][0-9]{{0,8}}", kept) is not None)


def is_finished(run: RunDirectory) -> bool:
    """Whether the run came to its end and nothing is left of what was asked for."""
    ended = read_history(run.events_file).ended
    return ended is not None and ended.outcome == "done" and not read_standing(run, run.config().pipeline.stages).left


def next_command(run: RunDirectory) -> str:
    """What to do with a run as it is, with the command that works on it now."""
    if run.is_running():
        return f"follow it: nanosolo attach {run.name}"
    try:
        finished = is_finished(run)
    except NanosoloError:
        return "see what is wrong with it: nanosolo runs"
    return f"read its report: nanosolo report {run.name}" if finished else f"resume it: nanosolo resume {run.name}"


def results_of(run: RunDirectory, standing: Standing) -> set[str]:
    """The stages whose results are here, whoever made them."""
    found: set[str] = {stage for stage in MODEL_STAGES if list_checkpoints(run.checkpoints(stage))}
    if run.tokens_file.exists():
        found |= {"data", "tokenize"}
    if run.tokenizer.is_dir():
        found.add("tokenizer")
    return found | ({"data"} & standing.done)
