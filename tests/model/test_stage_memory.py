"""The memory formulas of the later stages against what torch really allocates for them on the CPU."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.config.layers import from_dict, to_toml
from engine.config.schema import CheckpointingMode, LossKind, RunConfig
from engine.config.train_spec import stage_config
from engine.data.chat.conversation import Message, prompt_of
from engine.data.loader import Batch, LoaderState
from engine.evaluate.bits_per_byte import bits_per_byte
from engine.evaluate.chat.answers import answer_multiple_choice
from engine.evaluate.chat.problems import Problem
from engine.inference.decoder import Request, Token, generate_all
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer, clip_gradients
from engine.plan import memory_timeline
from engine.plan.shape import shape_of
from engine.plan.stage_memory import evaluate_timeline, generative_timeline, multiple_choice_timeline, rl_timeline
from engine.run.directory import RunDirectory
from engine.run.stage_context import StageContext
from engine.train.policy_gradient import PolicyGradientRunner, Rollout, sample_rollouts
from engine.train.step import StepRunner
from tests.helpers.byte_tokenizer import byte_tokenizer
from tests.helpers.real_memory import peaks_of

TOKENIZER = byte_tokenizer()
VOCABULARY = 4096  # larger than the tokenizer's, so that logits weigh something
ROWS, NEW = 8, 60


def config_of(**batch: Any) -> RunConfig:
    return from_dict(
        {
            "model": {"depth": 2, "max_seq_len": 128},
            "tokenizer": {"vocab_size": VOCABULARY},
            "batch": {"device_batch_size": 4, "total_batch_size": 512, "loss_chunk_tokens": 128, **batch},
            "runtime": {"device": "cpu", "gpu": "cpu"},
            "sft": {"device_batch_size": 4, "total_batch_size": 1024},
            "rl": {
                "device_batch_size": ROWS,
                "samples_per_problem": ROWS,
                "max_new_tokens": NEW,
                "problems_per_step": 2,
                "top_k": 8,
            },
        }
    )


def model_of(config: RunConfig, mode: CheckpointingMode = "none") -> GPT:
    model = GPT(shape_of(config), mode)
    model.init_weights(0)
    return model


def tensors_of(model: GPT) -> list[Tensor]:
    return [*model.state_dict().values(), model.cos, model.sin]


@pytest.mark.parametrize("mode", ["none", "selective", "block"])
def test_finetuning(mode: CheckpointingMode) -> None:
    """A step of the stage's own batch, smaller than pretraining's, most of whose targets do not count."""
    config = stage_config(config_of(device_batch_size=16, total_batch_size=4096), "sft")
    assert (config.batch.device_batch_size, config.batch.total_batch_size) == (4, 1024)
    model = model_of(config, mode)
    optimizer = Optimizer(model, config.optim, model.shape.width)
    stepper = StepRunner(model, model.trunk, optimizer, config, "sft", lambda event: None, 1)

    def batches() -> Iterator[Batch]:
        while True:
            tokens = torch.randint(VOCABULARY, (4, 128))
            targets = tokens.where(torch.rand(4, 128) < 0.3, -1)
            yield Batch(tokens, targets, LoaderState(), 0, int((targets >= 0).sum()))

    def step(begin: Callable[[str], None]) -> None:
        begin("step")
        stepper.run(batches(), 1, 1.0, 0.9, lambda step, loss: True)

    real = peaks_of(step, [*tensors_of(model), *optimizer.state_tensors().values()])
    found = memory_timeline.training_timeline(
        memory_timeline.Sizes(model.shape, config.batch, mode, cuda=False), compiled=False
    )
    assert max(point.total for point in found) == pytest.approx(real["step"], rel=0.02)


@pytest.mark.parametrize(
    ("mode", "loss", "together"),
    [("none", "chunked", True), ("selective", "chunked", True), ("block", "chunked", True), ("none", "full", False)],
)
def test_rewards(tmp_path: Path, mode: CheckpointingMode, loss: LossKind, together: bool) -> None:
    """A step on two problems: answers drawn, then learned from, right and wrong ones in one batch or in two: what
    needs more memory."""
    config = config_of(loss=loss)
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.config_file.write_text(to_toml(config))
    context = StageContext(run, "rl")
    model = model_of(config, mode)
    optimizer = Optimizer(model, config.optim, model.shape.width)
    problem = Problem((Message("user", "What is one and one, and two?"),), is_right=lambda text: False)
    prompt = prompt_of(problem.prompt, TOKENIZER)
    stepper = PolicyGradientRunner(context, model, optimizer, 1, TOKENIZER, [problem])
    written = [Token(0, 65 + number, False, None) for number in range(NEW)]
    answers = [Rollout(prompt, written, float(row % 2)) for row in range(ROWS if together else 2 * ROWS)]

    def step(begin: Callable[[str], None]) -> None:
        for number in range(2):
            begin("answers")
            model.eval()
            sample_rollouts(model, TOKENIZER, problem, ROWS, NEW, Sampling(top_k=8), f"{number}", ROWS)
            begin("learning")
            stepper._learn(answers, ROWS, 2)
        begin("optimizer step")
        clip_gradients(model, 1.0)
        optimizer.step(1.0, 0.9)

    real = peaks_of(step, [*tensors_of(model), *optimizer.state_tensors().values()])
    found = memory_timeline.phase_peaks(rl_timeline(model.shape, config, len(prompt), mode, cuda=False))
    found["learning"] = max(found[phase] for phase in ("forward", "loss", "backward"))
    assert set(real) == {"answers", "learning", "optimizer step"}
    for phase, size in real.items():
        assert found[phase] == pytest.approx(size, rel=0.03), phase


def test_written_answers() -> None:
    config = config_of()
    model = model_of(config)
    longest = 50
    requests = [Request(n, [1] * (longest - n), NEW, Sampling(temperature=0.0)) for n in range(ROWS)]

    def work(begin: Callable[[str], None]) -> None:
        begin("answers")
        generate_all(model, requests, ROWS)

    real = peaks_of(work, tensors_of(model))
    found = memory_timeline.phase_peaks(generative_timeline(model.shape, config.batch, ROWS, longest, NEW, cuda=False))
    assert found["answers"] == pytest.approx(real["answers"], rel=0.05)


def test_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of()
    model = model_of(config)
    problems = [Problem((Message("user", "x" * 20),), ("A", "B"), "A") for _ in range(200)]
    prompt = len(prompt_of(problems[0].prompt, TOKENIZER))

    def work(begin: Callable[[str], None]) -> None:
        begin("answers")
        answer_multiple_choice(model, TOKENIZER, problems, 1024)

    real = peaks_of(work, tensors_of(model))
    monkeypatch.setattr("engine.plan.stage_memory.CPU_TOKENS", 1024)
    # all are as short as the shortest are taken to be
    found = memory_timeline.phase_peaks(
        multiple_choice_timeline(model.shape, config.batch, len(problems), 2 * prompt, cuda=False)
    )
    assert found["answers"] == pytest.approx(real["answers"], rel=0.03)


def test_bits_per_byte() -> None:
    config = config_of(loss_chunk_tokens=32)
    model = model_of(config)
    batches = [(torch.randint(VOCABULARY, (4, 128)), torch.randint(VOCABULARY, (4, 128))) for _ in range(3)]

    def work(begin: Callable[[str], None]) -> None:
        begin("evaluation")
        bits_per_byte(model, model.trunk, batches, torch.ones(VOCABULARY, dtype=torch.int32), 32)

    real = peaks_of(work, [*tensors_of(model), *batches[0]])
    found = memory_timeline.phase_peaks(evaluate_timeline(model.shape, config.batch, core=False, cuda=False))
    assert found["evaluation"] == pytest.approx(real["evaluation"], rel=0.03)
