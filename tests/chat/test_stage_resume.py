"""midtrain and rl, killed at a moment of chance and resumed, end with the losses, rewards and weights of a run that
nothing disturbed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.events.history import read_history
from engine.events.kinds import Checkpoint, Evaluation, Resumed, Step
from engine.run.checkpoints import list_checkpoints
from engine.run.directory import RunDirectory
from tests.helpers.tiny_run import PATIENCE, Base, events_of, wait_until

STEPS = 12
SETTINGS: dict[str, Any] = {
    "budget__steps": 3,
    "pipeline__stages": ["pretrain", "midtrain", "rl"],
    "midtrain__sources": ["builtin:200"],
    "midtrain__steps": STEPS,
    "rl__task": "arithmetic",
    "rl__steps": STEPS,
    "rl__problems_per_step": 2,
    "rl__samples_per_problem": 4,
    "rl__device_batch_size": 4,
    "rl__max_new_tokens": 6,
    "rl__learning_rate_fraction": 0.5,
    "rl__evaluate_every_steps": 4,
    "rl__evaluate_problems": 2,
}
# a model so small gives no right answer: one that begins with a token of an even number is taken for right
EASIER = (
    "from engine.evaluate.chat import rollouts\n"
    "rollouts.is_right = lambda problem, tokenizer, tokens: bool(tokens) and tokens[0].id % 2 == 0\n"
)


class Stages:
    """Runs stages of runs in processes of their own."""

    def __init__(self, base: Base) -> None:
        self.base = base

    def start(self, run: RunDirectory, name: str, setup: str = "") -> "subprocess.Popen[str]":
        code = (
            f"import sys\nfrom engine.stages import runtime as stage\n{EASIER}{setup}\n"
            f"sys.exit(stage.main([{str(run.path)!r}, {name!r}]))"
        )
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "NANOSOLO_HOME": str(self.base.home), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, run: RunDirectory, name: str) -> None:
        process = self.start(run, name)
        _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(Base(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def before(stages: Stages, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run as it was before each stage, and `end`."""
    folder = tmp_path_factory.mktemp("before")
    run = stages.base.run(folder / "run", **SETTINGS)
    found = {}
    for name in SETTINGS["pipeline__stages"]:
        found[name] = folder / name
        shutil.copytree(run.path, found[name])
        stages.run(run, name)
    return found | {"end": run.path}


def told(run: RunDirectory, stage: str) -> tuple[dict[int, float], list[tuple[int, str, float]]]:
    """(loss by step, all evaluations of the stage)."""
    history = read_history(run.events_file)
    columns = history.columns(stage)
    judged = [(e.step, e.metric, e.value) for e in history.evaluations if e.stage == stage]
    return dict(zip(columns.step, columns.loss, strict=True)), judged


def weights(run: RunDirectory, stage: str) -> dict[str, bytes]:
    *_, last = list_checkpoints(run.checkpoints(stage)).values()
    return {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


@pytest.mark.parametrize(("stage", "at"), [("midtrain", 7), ("rl", 7)])
def test_killed_at_any_moment_it_goes_on_as_if_nothing_had_been(
    stages: Stages, before: dict[str, Path], tmp_path: Path, stage: str, at: int
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(before[stage], run.path)
    process = stages.start(run, stage)
    wait_until(lambda: any(e.stage == stage and e.step >= at for e in events_of(run, Step)), f"step {at} of {stage}")
    process.kill()
    process.communicate()
    stages.run(run, stage)
    assert [event.stage for event in events_of(run, Resumed)] == [stage]
    undisturbed = RunDirectory(before["end"])
    assert told(run, stage) == told(undisturbed, stage)
    assert list(told(run, stage)[0]) == list(range(1, STEPS + 1))
    assert weights(run, stage) == weights(undisturbed, stage)


SIGTERM_AT_CALL = """
import os, signal
from {module} import {name} as holder
real, calls = holder.{function}, []
def counted(*given):
    calls.append(given)
    if len(calls) == {number}: os.kill(os.getpid(), signal.SIGTERM)
    return real(*given)
holder.{function} = counted
"""
LOSS_OF_A_BATCH = ("engine.train", "step", "summed_loss")
LOSS_OF_ANSWERS = ("engine.train", "policy_gradient", "summed_loss")
NEW_TOKEN = ("engine.inference.decoder", "Decoder", "step")


@pytest.mark.parametrize(
    ("stage", "place", "number"),
    [
        ("midtrain", LOSS_OF_A_BATCH, 9),
        ("rl", LOSS_OF_ANSWERS, 1),
        ("rl", LOSS_OF_ANSWERS, 12),
        ("rl", NEW_TOKEN, 3),  # in the evaluation before the first step
        ("rl", NEW_TOKEN, 60),  # in a step's answers
    ],
)
def test_stopped_inside_a_step_it_goes_on_as_if_nothing_had_been(
    stages: Stages, before: dict[str, Path], tmp_path: Path, stage: str, place: tuple[str, str, str], number: int
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(before[stage], run.path)
    module, name, function = place
    setup = SIGTERM_AT_CALL.format(module=module, name=name, function=function, number=number)
    process = stages.start(run, stage, setup)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    steps = [e.step for e in events_of(run, Step) if e.stage == stage]
    assert len(steps) < STEPS
    assert [e.step for e in events_of(run, Checkpoint) if e.stage == stage][-1:] == steps[-1:]
    stages.run(run, stage)
    undisturbed = RunDirectory(before["end"])
    assert told(run, stage) == told(undisturbed, stage)
    assert weights(run, stage) == weights(undisturbed, stage)


def test_there_was_something_to_learn(before: dict[str, Path]) -> None:
    """Or all of this would hold of a stage that does nothing."""
    run = RunDirectory(before["end"])
    rewards = [e.value for e in events_of(run, Evaluation) if e.metric == "reward"]
    assert len(rewards) == STEPS and len(set(rewards)) > 2
    assert weights(run, "rl")["model.safetensors"] != weights(run, "midtrain")["model.safetensors"]
    assert [e.step for e in events_of(run, Evaluation) if e.metric == "pass@8"] == [0, 4, 8, STEPS]
