"""A home made by the version of November 2026 works: list, follow, report, export, chat with and resume its run."""

import json
import shutil
import tarfile
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from engine.checkpoint import checkpoint, manifest
from engine.events.history import read_history
from engine.events.kinds import Step
from engine.events.log import read_events
from engine.run.directory import RunDirectory
from tests.helpers.command_line import nanosolo

ARCHIVE = Path(__file__).with_name("november_2026.tar.xz")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home, as copied from another machine."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> RunDirectory:
    return RunDirectory(home / "runs" / "before")


def raw_events(run: RunDirectory) -> list[dict[str, object]]:
    return [json.loads(line) for line in run.events_file.read_text().splitlines()]


def test_every_event_is_read_as_it_was_written(run: RunDirectory) -> None:
    raw, events = raw_events(run), list(read_events(run.events_file))
    assert len(events) == len(raw) > 100
    for written, read in zip(raw, events, strict=True):
        known = json.loads(msgspec.json.encode(read))
        assert {name: known.get(name) for name in written} == written


def test_the_checkpoints_are_read_bit_for_bit(run: RunDirectory) -> None:
    folders = sorted((run.path / "checkpoints").glob("*/step_*"))
    assert [folder.name for folder in folders] == ["step_000040", "step_000060", "step_000012"]
    for folder in folders:
        manifest.verify(folder)
        raw, read = load_file(folder / "model.safetensors"), checkpoint.read_weights(folder)
        assert raw.keys() == read.keys()
        assert all(torch.equal(raw[name], read[name]) for name in raw)
        loaded = dict(checkpoint.load_model(folder, "cpu").named_parameters())
        assert all(torch.equal(raw[name], loaded[name]) for name in raw)


def test_configuration_plan_and_history_are_read(run: RunDirectory) -> None:
    config, plan, history = run.config(), run.plan(), read_history(run.events_file)
    assert (config.model.depth, config.model.max_seq_len, config.budget.steps) == (1, 64, 60)
    assert plan is not None
    assert plan.steps == 60
    assert history.damaged == 0
    assert history.ended is not None
    assert history.ended.outcome == "done"


def test_its_figures_are_shown(home: Path, run: RunDirectory) -> None:
    losses = [event["loss"] for event in raw_events(run) if event["kind"] == "step" and event["stage"] == "pretrain"]
    (listed,) = json.loads(nanosolo(home, "runs", "--json").stdout)
    assert listed["name"] == "before"
    assert listed["state"] == "finished"
    for command in ("runs", "attach", "logs", "report"):
        done = nanosolo(home, command, *(["before"] if command != "runs" else []))
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout, command
    assert f"{losses[-1]:.4f}" in nanosolo(home, "attach", "before").stdout
    assert "3.0570" in run.report_file.read_text()
    assert "3.0570" in run.page_file.read_text()


def test_it_answers_and_is_exported(home: Path, run: RunDirectory, tmp_path: Path) -> None:
    prompt = ("chat", "before", "--prompt", "What is 2 + 3?", "--max-tokens", "4")
    answered = nanosolo(home, *prompt)
    assert answered.returncode == 0, answered.stderr
    for kind in ("hf", "nanochat"):
        done = nanosolo(home, "export", "before", "--to", kind, str(tmp_path / kind))
        assert done.returncode == 0, done.stderr
        assert any((tmp_path / kind).rglob("*"))


def test_a_stage_is_run_again_from_its_weights(home: Path, run: RunDirectory) -> None:
    done = nanosolo(home, "resume", "before", "--stages", "sft", "--anew")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (run.path / "checkpoints" / "sft.1" / "step_000012").is_dir()
    assert (run.path / "checkpoints" / "sft" / "step_000012").is_dir()
    assert read_history(run.events_file).stages["sft"].ended is not None


def test_training_that_was_interrupted_goes_on(home: Path, run: RunDirectory) -> None:
    """As if the machine had died after step 40: the steps after it come out as they did then."""
    events = run.events_file.read_text().splitlines(keepends=True)
    place = next(i for i, line in enumerate(events) if '"path":"checkpoints/pretrain/step_000040"' in line)
    run.events_file.write_text("".join(events[: place + 1]))
    shutil.rmtree(run.path / "checkpoints" / "sft")
    shutil.rmtree(run.path / "checkpoints" / "pretrain" / "step_000060")
    then = {e["step"]: e["loss"] for e in map(json.loads, events) if e["kind"] == "step" and e["stage"] == "pretrain"}
    done = nanosolo(home, "resume", "before")
    assert done.returncode == 0, done.stdout + done.stderr
    now = {e.step: e.loss for e in read_events(run.events_file) if isinstance(e, Step) and e.stage == "pretrain"}
    assert now.keys() == then.keys()
    assert now == pytest.approx(then, rel=1e-4)  # another CPU may add in another order
