"""Fine-tuning: from the stage before, exactly resumed, every token of a step weighing the same, rows of any length."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.config.layers import from_dict
from engine.config.schema import RunConfig
from engine.config.train_spec import stage_config
from engine.data.loader import Batch, LoaderState
from engine.events.history import read_history
from engine.events.kinds import Evaluation, Resumed, Sample, Step
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.shape import shape_of
from engine.run.checkpoints import list_checkpoints
from engine.run.directory import RunDirectory
from engine.train.step import StepRunner
from tests.helpers.tiny_run import PATIENCE, Base, events_of

STAGES = ["pretrain", "midtrain", "sft"]
SETTINGS: dict[str, Any] = {
    "budget__steps": 3,
    "pipeline__stages": STAGES,
    "midtrain__sources": ["builtin:100"],
    "midtrain__steps": 2,
    "sft__sources": ["builtin"],
    "sft__steps": 12,
    "sft__total_batch_size": 512,
    "sft__learning_rate_fraction": 0.5,
    "sft__evaluate_every_steps": 5,
}
DIES_AT_8 = (
    "import os\nfrom engine.train.training import Training\nstep = Training._step\n"
    "def dying(self, loader):\n    step(self, loader)\n    self.state.step == 8 and os._exit(9)\n"
    "Training._step = dying"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return Base(tmp_path_factory.mktemp("base"))


def stage(run: RunDirectory, name: str, home: Path, setup: str = "") -> subprocess.CompletedProcess[str]:
    arguments = [str(run.path), name]
    code = f"import sys\nfrom engine.stages import runtime\n{setup}\nsys.exit(runtime.main({arguments!r}))"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NANOSOLO_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def run_all(run: RunDirectory, home: Path) -> RunDirectory:
    for name in run.config().pipeline.stages:
        done = stage(run, name, home)
        assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def whole(base: Base, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run_all(base.run(tmp_path_factory.mktemp("whole") / "run", **SETTINGS), base.home)


def losses(run: RunDirectory) -> dict[int, float]:
    columns = read_history(run.events_file).columns("sft")
    return dict(zip(columns.step, columns.loss, strict=True))


def weights(run: RunDirectory, name: str) -> bytes:
    *_, last = list_checkpoints(run.checkpoints(name)).values()
    return (last / "model.safetensors").read_bytes()


def test_each_stage_goes_on_from_the_one_before(whole: RunDirectory) -> None:
    held_out = [e for e in events_of(whole, Evaluation) if e.metric == "val_loss"]
    end_of_midtrain = next(e for e in held_out if (e.stage, e.step) == ("midtrain", 2))
    start_of_sft = next(e for e in held_out if (e.stage, e.step) == ("sft", 0))
    assert start_of_sft.value == pytest.approx(end_of_midtrain.value, rel=1e-6)
    assert held_out[-1].step == 12 and held_out[-1].value < start_of_sft.value
    assert {(s.stage, s.prompt) for s in events_of(whole, Sample)} >= {("sft", "Who are you?")}
    scales = [e.learning_rate_scale for e in events_of(whole, Step) if e.stage == "sft"]
    assert scales[0] == 1.0 and scales[-1] == pytest.approx(1 / 12)


def test_a_killed_stage_resumes_to_the_same_losses_and_weights(whole: RunDirectory, base: Base, tmp_path: Path) -> None:
    run = base.run(tmp_path / "run", **SETTINGS)
    for name in ("pretrain", "midtrain"):
        assert stage(run, name, base.home).returncode == 0
    assert stage(run, "sft", base.home, DIES_AT_8).returncode == 9
    assert max(losses(run)) == 8
    assert stage(run, "sft", base.home).returncode == 0
    assert [e.step for e in events_of(run, Resumed) if e.stage == "sft"] == [5]
    assert losses(run) == losses(whole)
    assert weights(run, "sft") == weights(whole, "sft")


def test_without_a_stage_before_it_says_what_is_missing(base: Base, tmp_path: Path) -> None:
    done = stage(base.run(tmp_path / "run", **SETTINGS), "sft", base.home)
    assert done.returncode == 5
    assert done.stderr.strip().splitlines() == [
        "error: run run has no checkpoint to start from. Run pretrain first: nanosolo resume run --stages pretrain,sft"
    ]


@pytest.mark.parametrize("seq_len", [16, 47])
def test_any_length_of_rows_trains_to_the_end(base: Base, tmp_path: Path, seq_len: int) -> None:
    """Conversations far longer than a row, some without an answer in reach: cut or left out, counted, never NaN."""
    talks = [
        [{"role": "user", "content": "a" * i}, {"role": "assistant", "content": "b" * (3 * i + 1)}] for i in range(60)
    ]
    talks.append([{"role": "user", "content": "x" * 5000}, {"role": "assistant", "content": "y"}])
    file = tmp_path / "talks.jsonl"
    file.write_text("\n".join(json.dumps(talk) for talk in talks))
    changes = SETTINGS | {"pipeline__stages": ["pretrain", "sft"], "sft__sources": [str(file)], "sft__steps": 4}
    changes |= {"model__max_seq_len": seq_len, "data__validation_fraction": 0.3, "batch__total_batch_size": 4 * seq_len}
    run = base.run(tmp_path / "run", **changes)
    assert stage(run, "pretrain", base.home).returncode == 0
    done = stage(run, "sft", base.home)
    assert done.returncode == 0, done.stderr
    assert "conversations cut to the length of a row" in done.stdout
    assert "conversations too long before the answer" in done.stdout
    assert all(np.isfinite(loss) for loss in losses(run).values()) and len(losses(run)) == 4


def step_config(rows: int) -> RunConfig:
    return from_dict(
        {
            "model": {"depth": 1, "max_seq_len": 16},
            "batch": {"device_batch_size": rows, "total_batch_size": 64},
            "tokenizer": {"vocab_size": 300},
            "optim": {"grad_clip": 0.0},
        }
    )


def uneven_batches(rows: int) -> Iterator[Batch]:
    """Four rows of which 1, 16, 2 and 5 targets count, `rows` at a time."""
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(300, (4, 16), generator=generator)
    targets = torch.randint(300, (4, 16), generator=generator)
    for row, count in enumerate((1, 16, 2, 5)):
        targets[row, count:] = -1
    while True:
        for start in range(0, 4, rows):
            some = targets[start : start + rows]
            yield Batch(tokens[start : start + rows], some, LoaderState(), 0, int((some >= 0).sum()))


@pytest.mark.parametrize(("rows", "splits"), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 4)])
def test_every_token_of_a_step_weighs_the_same_however_it_is_cut(rows: int, splits: int) -> None:
    config = step_config(rows)
    model = GPT(shape_of(config))
    model.init_weights(1)
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(2))
    batch = next(uneven_batches(4))
    expected = F.cross_entropy(model(batch.tokens).flatten(0, 1), batch.targets.flatten(), ignore_index=-1)
    expected.backward()
    wanted = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    optimizer = Optimizer(model, config.optim, model.shape.width)
    seen: dict[str, torch.Tensor] = {}
    optimizer.step = lambda *_: seen.update({n: w.grad.clone() for n, w in model.named_parameters()})  # type: ignore
    runner = StepRunner(model, model.trunk, optimizer, config, "sft", lambda event: None, splits)
    result = runner.run(uneven_batches(rows), 1, 1.0, 0.9, lambda *_: True)
    assert result.loss == pytest.approx(expected.item(), rel=1e-5)
    for name, gradient in wanted.items():
        torch.testing.assert_close(seen[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_stages_settings_take_the_places_of_pretrainings() -> None:
    config = from_dict({"model": {"max_seq_len": 2048}, "batch": {"device_batch_size": 32}})
    sft = stage_config(config, "sft")
    assert (sft.batch.device_batch_size, sft.batch.total_batch_size) == (8, 16_384)
    assert sft.optim.matrix_lr == pytest.approx(0.02 * config.optim.matrix_lr)
    assert (sft.optim.warmdown_fraction, sft.optim.final_lr_fraction) == (1.0, 0.0)
    assert stage_config(config, "pretrain") == config
    longer = stage_config(from_dict({"model": {"max_seq_len": 32_768}, "batch": {"device_batch_size": 1}}), "sft")
    assert (longer.batch.device_batch_size, longer.batch.total_batch_size) == (1, 32_768)
