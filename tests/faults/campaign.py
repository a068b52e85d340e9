"""Runs with one fault after the other, each compared with an undisturbed run; losses are counted."""

import random
import shutil
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.faults.baseline import Baseline
from tests.faults.faulted_run import FaultedRun, Lost
from tests.faults.faults import FAULTS
from tests.helpers.tiny_run import SAVE_EVERY

FAULTS_A_RUN = 8
# These remove checkpoints or the events of a resume, so the repeated steps do not depend on save_every.
TAKE_CHECKPOINTS = {"checkpoint damaged", "disk full for a while", "disk full at the start", "events damaged"}


class Outcome(msgspec.Struct, frozen=True):
    """The faults of one run, and its result."""

    faults: tuple[str, ...]  # in order
    lost: str  # what was lost, as text; empty: nothing
    repeated: int  # the largest number of steps repeated after one fault
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


def play(baseline: Baseline, folder: Path, faults: Sequence[str], seed: int) -> Outcome:
    """Run to the end with these faults. The folder is kept if something was lost."""
    faulted = FaultedRun(baseline, folder, random.Random(seed))
    met: list[str] = []
    try:
        for name in faults:
            if faulted.is_done():
                break
            met.append(name)
            FAULTS[name](faulted)
        faulted.finish()
        repeated = faulted.judge()
    except (Lost, AssertionError) as problem:
        return Outcome(tuple(met), str(problem) or repr(problem), 0, seed)
    except Exception:
        return Outcome(tuple(met), traceback.format_exc(), 0, seed)
    finally:
        faulted.close()
    shutil.rmtree(folder)
    return Outcome(tuple(met), "", repeated, seed)


def choose_faults(draw: random.Random) -> list[str]:
    """The faults of one run, chosen at random."""
    return draw.choices(list(FAULTS), k=FAULTS_A_RUN)
