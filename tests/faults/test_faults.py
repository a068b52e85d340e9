"""A short fault campaign: the faults that cost most, on real runs; nothing is lost. The long one: bench/faults.py."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.campaign import CampaignResult, play
from tests.faults.faults import FAULTS
from tests.faults.ground import midtraining, pretraining
from tests.helpers import tiny_run

SEED = 20
HANDS = (  # dealt to a run that pretrains, and to one that midtrains
    ("kill -9 trainer", "checkpoint damaged", "events damaged", "two runners", "process id reused"),
    ("disk full for a while", "tokens damaged", "kill -9 runner, trainer lives", "clock jumps", "machine goes down"),
)


def test_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path / "home"))
    base = tiny_run.Base(tmp_path / "base")
    grounds = (pretraining(base, tmp_path / "pretrain"), midtraining(base, tmp_path / "midtrain"))
    with ThreadPoolExecutor(2) as pool:
        outcomes = pool.map(
            lambda hand: play(grounds[hand[0]], tmp_path / f"run-{hand[0]}", hand[1], SEED + hand[0]), enumerate(HANDS)
        )
        tally = CampaignResult()
        for outcome in outcomes:
            tally.add(outcome)
    assert tally.lost == []
    assert tally.beyond_a_write == 0
    assert tally.runs == len(HANDS)


def test_hands_name_faults() -> None:
    assert {name for hand in HANDS for name in hand} <= FAULTS.keys()
