"""A tiny run through all of its stages, talked to, and its stages repeated, killed and refused, as a user does it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.config.layers import to_toml
from engine.events.history import read_history
from engine.events.kinds import Evaluation, StageStarted, Step
from engine.events.log import read_events
from engine.run.checkpoints import list_checkpoints
from engine.run.directory import RunDirectory
from tests.helpers import tiny_run
from tests.helpers.tiny_run import wait_until
from tests.helpers.trained_run import nanosolo

STAGES = ["data", "tokenizer", "tokenize", "pretrain", "sft", "chat_eval"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Every stage done, in a home of its own."""
    folder = tmp_path_factory.mktemp("real")
    config = tiny_run.tiny_config(
        tiny_run.write_corpus(folder / "corpus"),
        pipeline__stages=STAGES,
        model__max_seq_len=64,
        evaluate__core="off",
        sft__steps=4,
        sft__total_batch_size=256,
        chat_eval__max_per_task=2,
        chat_eval__max_new_tokens=6,
    )
    (folder / "tiny.toml").write_text(to_toml(config))
    run = RunDirectory(folder / "home" / "runs" / "tiny")
    done = nanosolo(run, "--config", str(folder / "tiny.toml"), "--name", "tiny")
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture
def run(whole: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the whole home."""
    home = tmp_path / "home"
    shutil.copytree(whole.path.parents[1], home)
    note = home / "runs" / "tiny" / "tokens.json"
    note.write_text(note.read_text().replace(str(whole.path.parents[1]), str(home)))
    return RunDirectory(home / "runs" / "tiny")


def weights(run: RunDirectory, stage: str) -> dict[str, bytes]:
    *_, last = list_checkpoints(run.checkpoints(stage)).values()
    return {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


def test_the_model_that_sft_made_is_talked_to(whole: RunDirectory) -> None:
    asked = ("--stage", "sft", "--prompt", "What is 3 + 4?", "--max-tokens", "8", "--device", "cpu", "--json")
    said = nanosolo(whole, "chat", "tiny", *asked)
    assert said.returncode == 0, said.stderr
    reply = json.loads(said.stdout)
    assert 0 < reply["new_tokens"] <= 8
    assert reply["prompt_tokens"] > 10  # the question between its special tokens
    assert "has not been trained to chat" not in said.stderr
    refused = nanosolo(whole, "chat", "tiny", "--stage", "rl", "--prompt", "x")
    assert (refused.returncode, "It has one of" in refused.stderr) == (2, True)


def test_fine_tuning_is_repeated_with_other_settings_and_judged_anew(run: RunDirectory) -> None:
    was = weights(run, "sft")
    done = nanosolo(run, "resume", "tiny", "--stages", "chat_eval,sft", "--set", "sft.steps=6")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == (
        "run tiny: sft again (its checkpoints move to checkpoints/sft.1), chat_eval again"
    )
    assert weights(run, "sft.1") == was != weights(run, "sft")
    history = read_history(run.events_file)
    assert list(history.columns("sft").step) == [1, 2, 3, 4, 5, 6]
    asked = [e for e in read_events(run.events_file) if isinstance(e, Evaluation) and e.metric == "chat/arithmetic"]
    assert len(asked) == 2 and history.latest("chat/arithmetic") == asked[-1]
    assert asked[-1].step == 6
    assert nanosolo(run, "resume", "tiny").returncode == 2  # nothing is left


def test_a_repeated_stage_that_is_killed_goes_on_and_ends_as_the_first_time(run: RunDirectory) -> None:
    """With the same settings, the same weights to the bit; and nothing else is run."""
    before = sum(1 for _ in read_events(run.events_file))
    done = nanosolo(run, "resume", "tiny", "--stages", "pretrain", "--detach")
    assert done.returncode == 0, done.stderr
    assert "! outdated after this, as built on earlier weights: sft, chat_eval." in done.stdout

    def steps() -> list[int]:
        later = list(read_events(run.events_file))[before:]
        return [e.step for e in later if isinstance(e, Step) and e.stage == "pretrain"]

    wait_until(lambda: max(steps(), default=0) >= tiny_run.SAVE_EVERY + 2, "a step of the repeated stage")
    for process in psutil.process_iter(["cmdline"]):
        if str(run.path) in (process.info["cmdline"] or ()):
            process.send_signal(signal.SIGKILL)
    wait_until(lambda: not run.is_running(), "the end of all")
    done = nanosolo(run, "resume", "tiny")
    assert done.returncode == 0, done.stderr
    started = [e.stage for e in list(read_events(run.events_file))[before:] if isinstance(e, StageStarted)]
    assert started == ["pretrain", "pretrain"]
    assert weights(run, "pretrain") == weights(run, "pretrain.1")
    assert list(read_history(run.events_file).columns("pretrain").step) == list(range(1, tiny_run.STEPS + 1))


def test_preparing_again_changes_nothing_and_a_changed_text_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    def prepared() -> dict[str, bytes]:
        files = [*run.tokenizer.iterdir(), run.tokens_file]
        return {path.name: path.read_bytes() for path in files}

    was = prepared()
    done = nanosolo(run, "resume", "tiny", "--stages", "data,tokenizer,tokenize")
    assert done.returncode == 0, done.stderr
    assert prepared() == was
    corpus = tmp_path / "other"
    tiny_run.write_corpus(corpus)
    (corpus / "more.txt").write_text("zz yy xx " * 2000)
    run.config_file.write_text(
        run.config_file.read_text().replace(run.config().data.paths[0], str(corpus))
    )  # as a text that changes where it lies
    for stage in "tokenizer", "tokenize":
        refused = nanosolo(run, "resume", "tiny", "--stages", stage)
        assert refused.returncode == 5
        assert refused.stderr.count("\n") == 1 and "the text has changed since run tiny trained on it" in refused.stderr
    assert prepared() == was


def test_a_stage_that_lacks_what_it_needs_fails_in_one_line_also_by_itself(tmp_path: Path, whole: RunDirectory) -> None:
    bare = RunDirectory(tmp_path / "bare")
    bare.path.mkdir()
    shutil.copy(whole.config_file, bare.path)
    shutil.copytree(whole.tokenizer, bare.tokenizer)
    done = subprocess.run(
        [sys.executable, "-m", "engine.stages.runtime", str(bare.path), "chat_eval"],
        env=os.environ | {"NANOSOLO_HOME": str(whole.path.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1 and "Run pretrain first" in done.stderr
