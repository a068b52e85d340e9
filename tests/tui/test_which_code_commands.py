"""chat, export and runs say when other code than this wrote a run's checkpoints."""

import json
import shutil
from pathlib import Path

import pytest

from engine.run.directory import RunDirectory
from tests.helpers.trained_run import nanosolo

LINE = (
    "warning: step 30 of pretrain was written by nanosolo 0.1.0 (0123456789ab), this is 0.1.0 (feed): "
    "results may differ\n"
)


@pytest.fixture
def other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOSOLO_COMMIT", "feed")


def test_chat_warns_once_before_it_answers(trained: RunDirectory, other_code: None) -> None:
    options = ("chat", "tiny", "--stage", "pretrain", "--prompt", "a", "--max-tokens", "1", "--json")
    done = nanosolo(trained, *options)
    assert (done.returncode, done.stderr) == (0, LINE)
    json.loads(done.stdout)


def test_chat_says_nothing_under_the_same_code(trained: RunDirectory) -> None:
    done = nanosolo(trained, "chat", "tiny", "--stage", "pretrain", "--prompt", "a", "--max-tokens", "1")
    assert (done.returncode, done.stderr) == (0, "")


def test_export_warns_and_the_card_names_both(trained: RunDirectory, other_code: None, tmp_path: Path) -> None:
    done = nanosolo(trained, "export", "tiny", "--stage", "pretrain", "--to", "hf", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (0, LINE)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| weights written by | nanosolo 0.1.0 (0123456789ab) |" in card
    assert "| exported by | nanosolo 0.1.0 (feed), torch" in card


def test_runs_names_the_code_of_the_last_start(trained: RunDirectory, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "home" / "runs" / "tiny")
    shutil.copytree(trained.path, run.path, ignore=shutil.ignore_patterns("checkpoints"))
    [told] = json.loads(nanosolo(run, "runs", "--json").stdout)
    assert (told["version"], told["commit"], told["code_changed"]) == (None, None, False)  # no runner ever noted it
    start = {"v": 1, "t": 1.0, "kind": "run_started", "name": "tiny", "version": "0.1.0", "host": "x", "pid": 1}
    first = start | {"versions": {"commit": "aaa"}}
    with run.events_file.open("a") as file:
        file.write(json.dumps(first) + "\n")
    [told] = json.loads(nanosolo(run, "runs", "--json").stdout)
    assert (told["version"], told["commit"], told["code_changed"]) == ("0.1.0", "aaa", False)
    noted = {"pid": 1, "started": 1.0, "host": "x", "code": {"version": "0.1.0", "commit": "bbb"}}
    run.runner_file.write_text(json.dumps(noted))
    [told] = json.loads(nanosolo(run, "runs", "--json").stdout)
    assert (told["version"], told["commit"], told["code_changed"]) == ("0.1.0", "bbb", True)
