"""Runs that meet fault after fault, each then judged against one that nothing disturbed; what was lost is counted."""

import random
import shutil
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.faults.faults import FAULTS
from tests.faults.ground import Ground
from tests.faults.world import Lost, World
from tests.helpers.tiny_run import SAVE_EVERY

FAULTS_A_RUN = 8
# these take checkpoints away, or the lines that tell of a resume: what is repeated then is no matter of save_every
TAKE_CHECKPOINTS = {"checkpoint damaged", "disk full for a while", "disk full at the start", "events damaged"}


class Outcome(msgspec.Struct, frozen=True):
    """What one run met and what became of it."""

    faults: tuple[str, ...]  # in this order
    lost: str  # what was lost, in words; empty: nothing
    repeated: int  # the most steps that were done over after one fault
    seed: int


class CampaignResult(msgspec.Struct):
    """All runs of a campaign."""

    runs: int = 0
    injected: Counter[str] = msgspec.field(default_factory=Counter)
    survived: Counter[str] = msgspec.field(default_factory=Counter)
    lost: list[Outcome] = msgspec.field(default_factory=list)
    most_repeated: int = 0  # steps, in runs that kept their checkpoints
    beyond_a_write: int = 0  # of these, runs that repeated more than save_every steps and those made during a write

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.injected.update(outcome.faults)
        if outcome.lost:
            self.lost.append(outcome)
            return
        self.survived.update(outcome.faults)
        if TAKE_CHECKPOINTS.isdisjoint(outcome.faults):
            self.most_repeated = max(self.most_repeated, outcome.repeated)
            self.beyond_a_write += outcome.repeated >= 2 * SAVE_EVERY


def play(ground: Ground, folder: Path, faults: Sequence[str], seed: int) -> Outcome:
    """One run through these faults to its end. The directory stays where something was lost."""
    world = World(ground, folder, random.Random(seed))
    met: list[str] = []
    try:
        for name in faults:
            if world.is_done():
                break
            met.append(name)
            FAULTS[name](world)
        world.finish()
        repeated = world.judge()
    except (Lost, AssertionError) as problem:
        return Outcome(tuple(met), str(problem) or repr(problem), 0, seed)
    except Exception:
        return Outcome(tuple(met), traceback.format_exc(), 0, seed)
    finally:
        world.close()
    shutil.rmtree(folder)
    return Outcome(tuple(met), "", repeated, seed)


def deal(draw: random.Random) -> list[str]:
    """The faults that one run is to meet."""
    return draw.choices(list(FAULTS), k=FAULTS_A_RUN)
