"""Which stages of a run are wanted, done or to restart: one part of the fold of the events (see history.py)."""

import re

import msgspec

from engine.config.stages import STAGES
from engine.events.kinds import StageEnded, StagesAsked


class StageRequests(msgspec.Struct):
    """The stages that were requested apart from the pipeline, and what became of all stages so far."""

    requested: tuple[str, ...] = ()  # requested last; empty once they are all done
    ever_requested: set[str] = set()
    unclaimed: bool = False  # stages were requested, and no runner has started since
    done: set[str] = set()  # last ended as `done`, and not requested since
    begun: set[str] = set()  # ever started
    restart: dict[str, str] = {}  # stages to restart -> folder that keeps their result; "": none

    def request(self, event: StagesAsked) -> None:
        """Take in a request. The file may come from anywhere, so unknown stages and foreign folders are ignored."""
        self.requested = tuple(stage for stage in event.stages if stage in STAGES)
        self.ever_requested.update(self.requested)
        self.unclaimed = True
        self.done.difference_update(self.requested)
        self.restart.update({stage: kept for stage, kept in event.anew.items() if _is_own_folder(stage, kept)})

    def end(self, event: StageEnded) -> None:
        """Take in how a stage ended."""
        self.done.discard(event.stage)
        if event.outcome == "done":
            self.done.add(event.stage)
        if all(stage in self.done for stage in self.requested):
            self.requested = ()


def _is_own_folder(stage: str, kept: str) -> bool:
    return stage in STAGES and (not kept or re.fullmatch(rf"{stage}\.[1-9][0-9]{{0,8}}", kept) is not None)
