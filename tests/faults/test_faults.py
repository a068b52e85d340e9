"""A short fault campaign: the most severe faults on real runs lose nothing. The long one: bench/faults.py."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.baseline import midtraining, pretraining
from tests.faults.campaign import CampaignResult, play
from tests.faults.faults import FAULTS
from tests.helpers import tiny_run

SEED = 20
FAULTS_PER_RUN = (  # for a run that pretrains, and for one that midtrains
    ("kill -9 trainer", "checkpoint damaged", "events damaged", "two runners", "process id reused"),
    ("disk full for a while", "tokens damaged", "kill -9 runner, trainer lives", "clock jumps", "machine goes down"),
)


def test_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path / "home"))
    base = tiny_run.Base(tmp_path / "base")
    baselines = (pretraining(base, tmp_path / "pretrain"), midtraining(base, tmp_path / "midtrain"))
    with ThreadPoolExecutor(2) as pool:
        outcomes = pool.map(
            lambda item: play(baselines[item[0]], tmp_path / f"run-{item[0]}", item[1], SEED + item[0]),
            enumerate(FAULTS_PER_RUN),
        )
        result = CampaignResult()
        for outcome in outcomes:
            result.add(outcome)
    assert result.lost == []
    assert result.beyond_a_write == 0
    assert result.runs == len(FAULTS_PER_RUN)


def test_every_fault_exists() -> None:
    assert {name for faults in FAULTS_PER_RUN for name in faults} <= FAULTS.keys()
