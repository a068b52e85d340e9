"""Where a run stands by its events: which stages are wanted, which of them are done, which are to begin anew."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.plan.pipeline import STAGES, in_order
from engine.run.directory import RunDirectory
from engine.run.event_log import read_events
from engine.run.events import RunStarted, StageAnew, StageEnded, StagesAsked, StageStarted


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
