"""A stop that comes while a stage reads or fetches ends it there, whatever handler of faults lies around that."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.events.kinds import Device, Progress
from engine.run.directory import RunDirectory
from tests.helpers import tiny_run

# the first file of tokens that is opened to be verified brings the signal
STOPPED_WHILE_READING = """
import os, signal, sys
from engine.stages import runtime as stage

def watch(event, arguments):
    global told
    if event == "open" and str(arguments[0]).endswith(".bin") and not told:
        told = True
        os.kill(os.getpid(), signal.SIGTERM)

told = False
sys.addaudithook(watch)
sys.exit(stage.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tiny_run.Base:
    return tiny_run.Base(tmp_path_factory.mktemp("base"))


def stopped_while_reading(run: RunDirectory, stage: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", STOPPED_WHILE_READING, str(run.path), stage]
    return subprocess.run(command, capture_output=True, text=True, timeout=tiny_run.PATIENCE, check=False)


@pytest.mark.parametrize("stage", ["evaluate", "tokenize"])
def test_a_stop_while_tokens_are_verified_is_no_damage(
    base: tiny_run.Base, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOSOLO_HOME", str(base.home))
    run = base.run(tmp_path / "run", budget__steps=1)
    assert tiny_run.train(run).returncode == 0
    before = (run.path / "tokens.json").stat().st_ino
    done = stopped_while_reading(run, stage)
    assert done.returncode == 130, done.stderr
    assert "written again" not in done.stdout
    assert not tiny_run.events_of(run, Progress), "the corpus was tokenized once more"
    assert (run.path / "tokens.json").stat().st_ino == before


def test_a_stop_before_training_begins_ends_it_at_once(base: tiny_run.Base, tmp_path: Path) -> None:
    run = base.run(tmp_path / "run")
    done = stopped_while_reading(run, "pretrain")
    assert (done.returncode, done.stderr) == (130, "stopped as asked\n")
    assert not tiny_run.events_of(run, Device), "the model was made all the same"
