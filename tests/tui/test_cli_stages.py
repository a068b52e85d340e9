"""Choosing stages on the command line: what is taken, what is refused in one line, and what attach tells of them."""

import json
import time
import tomllib
from pathlib import Path

import pytest

from engine.events.kinds import StageAnew, StagesAsked
from tests.helpers.made_run import write_run
from tests.helpers.run_screens import finished
from tui.cli.main import main

PREPARED = ["data", "tokenizer", "tokenize"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preset", "quickstart", "--stages", "stf"], "--stages stf: no such stage. Did you mean sft?"),
        (["--preset", "quickstart", "--stages", "sft,sft"], "--stages: sft is named twice. Name each stage once."),
        (["--preset", "quickstart", "--stages", " ,"], "--stages: name at least one of data, tokenizer,"),
        (
            ["--preset", "quickstart", "--stages", "data,sft"],
            "sft starts from the weights of pretrain, which pipeline.stages",
        ),
        (
            ["--preset", "quickstart", "--set", 'pipeline.stages=["pretrain"]'],
            "pretrain trains on the tokens of tokenize",
        ),
        (["--preset", "quickstart", "--set", "pipeline.stages=[]"], "pipeline.stages = []: name at least one stage"),
        (["--preset", "quickstart", "--skip", "rl"], "--skip rl: it is not in the pipeline, which is data,"),
        (["--preset", "quickstart", "--skip", "data,pretrain"], "which pipeline.stages does not have before it"),
        (["resume", "red", "--stages", "sftt"], "Did you mean sft?"),
        (
            ["resume", "red", "--stages", "sft"],
            "Run it first: nanosolo resume red --stages tokenizer,tokenize,pretrain,sft",
        ),
        (["resume", "red", "--stages", "evaluate", "--set", "data.source=local"], "Start a new run: nanosolo --config"),
        (["resume", "red", "--restart"], "--restart: name the stages to restart"),
        (["resume", "red", "--anew"], "--restart: name the stages to restart"),
        (["resume", "red"], "run red is finished. See it with: nanosolo report red, or run a stage again:"),
    ],
)
def test_what_cannot_be_is_one_line(
    home: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(home, "red", finished(steps=20))
    was = run.events_file.read_bytes()
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ") and told.err.count("\n") == 1 and said in told.err
    assert told.out == ""
    assert [path.name for path in (home / "runs").iterdir()] == ["red"]
    assert run.events_file.read_bytes() == was


def test_stages_are_named_or_left_out_and_stand_in_order(home: Path) -> None:
    file = home / "x.toml"
    for words, expected in (
        (["--stages", "tokenize, data,tokenizer"], PREPARED),
        (["--stages", "data,tokenizer,tokenize,pretrain,rl", "--skip", "rl,pretrain"], PREPARED),
        (["--skip", "pretrain,evaluate,sft,chat_eval,report"], PREPARED),
    ):
        assert main(["--preset", "quickstart", *words, "--export", str(file)]) == 0
        assert tomllib.loads(file.read_text())["pipeline"]["stages"] == expected
        file.unlink()


def test_attach_tells_of_a_repeated_stage_and_gives_each_step_its_reward(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = finished(steps=20, end=False).end()
    story.add(StagesAsked, stages=("rl",), anew={"rl": "rl.1"}).start("red", resumed=True)
    story.add(StageAnew, stage="rl", path="checkpoints/rl.1").stage("rl").device("rl").rewards(40).end_stage("rl").end()
    write_run(home, "red", story.until(time.time()))
    assert main(["attach", "red", "--every", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("asked for: rl") for line in lines)
    assert any(line.endswith("rl: restarts; what it had is in checkpoints/rl.1") for line in lines)
    [step] = [line for line in lines if "step 20/40" in line]
    assert "reward 0.6000" in step and "loss" not in step
    assert sum("reward" in line for line in lines) == 3  # the first, the 20th and the last step: no lines of their own
    assert any("pass@8 0.9000" in line for line in lines)
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "finished"
