"""Rewards: the gradient is the policy's, forced tokens and alike answers count nothing, and the reward rises."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from engine.config.layers import from_dict, to_toml
from engine.config.schema import RunConfig
from engine.config.train_spec import stage_config
from engine.data.chat.conversation import Message, prompt_of
from engine.data.loader import RowLoader
from engine.evaluate.chat.problems import Problem
from engine.events.history import read_history
from engine.inference.decoder import Token
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.shape import shape_of
from engine.run.directory import RunDirectory
from engine.run.stage_context import StageContext
from engine.train.policy_gradient import PolicyGradientRunner, ProblemRows, Rollout, pad_rollouts, sample_rollouts
from tests.helpers.byte_tokenizer import byte_tokenizer

TOKENIZER = byte_tokenizer()
# which digit is asked for: two problems, each with one right first character
PROBLEMS = [
    Problem((Message("user", name),), is_right=lambda text, d=digit: text.startswith(d)) for name, digit in ("a1", "b2")
]


def config(**rl: object) -> RunConfig:
    table = {
        "model": {"depth": 1, "max_seq_len": 32},
        "tokenizer": {"vocab_size": TOKENIZER.vocab_size},
        "batch": {"device_batch_size": 4, "total_batch_size": 128},
        "runtime": {"device": "cpu", "gpu": "cpu"},
        "rl": {
            "problems_per_step": 2,
            "samples_per_problem": 16,
            "device_batch_size": 8,
            "max_new_tokens": 2,
            "top_k": 8,
            "learning_rate_fraction": 0.4,
            **rl,
        },
    }
    return stage_config(from_dict(table), "rl")


def stepper_of(settings: RunConfig, folder: Path) -> tuple[PolicyGradientRunner, GPT]:
    run = RunDirectory(folder)
    run.path.mkdir()
    run.config_file.write_text(to_toml(settings))
    context = StageContext(run, "rl")
    context.config = settings
    model = GPT(shape_of(settings))
    model.init_weights(4)
    optimizer = Optimizer(model, settings.optim, model.shape.width)
    return PolicyGradientRunner(context, model, optimizer, 1, TOKENIZER, PROBLEMS), model


def guess_either_digit(model: GPT) -> None:
    """As after fine-tuning: a digit is the likely answer to both problems, and which one is not known."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    prompts = torch.tensor([prompt_of(problem.prompt, TOKENIZER) for problem in PROBLEMS for _ in "12"])
    digits = torch.tensor([TOKENIZER.encode(digit)[0] for _ in PROBLEMS for digit in "12"])
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(model(prompts)[:, -1], digits).backward()
        optimizer.step()


def token(id: int, forced: bool = False) -> Token:
    return Token(0, id, forced, None)


def test_only_tokens_of_the_models_choice_are_targets() -> None:
    prompt = prompt_of(PROBLEMS[0].prompt, TOKENIZER)
    answers = [Rollout(prompt, [token(65), token(66, True), token(67)], 1.0), Rollout(prompt, [token(68)], 0.0)]
    tokens, targets = pad_rollouts(answers, torch.device("cpu"))
    assert tokens.shape == targets.shape == (2, len(prompt) + 2)
    assert tokens[0].tolist() == [*prompt, 65, 66]
    assert targets[0, len(prompt) - 1 :].tolist() == [65, -1, 67]
    assert targets[1, len(prompt) - 1 :].tolist() == [68, -1, -1]
    assert (targets[:, : len(prompt) - 1] == -1).all()


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_gradient_is_the_policys_however_it_is_cut(tmp_path: Path, rows: int) -> None:
    stepper, model = stepper_of(config(), tmp_path / "run")
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(1))
    prompt = prompt_of(PROBLEMS[0].prompt, TOKENIZER)
    rewards = [1.0, 0.0, 0.0, 1.0]
    written = [[token(65), token(66)], [token(70)], [token(71), token(72, True), token(73)], [token(74)]]
    answers = [Rollout(prompt, tokens, reward) for tokens, reward in zip(written, rewards, strict=True)]
    loss = stepper._learn(answers, rows, 3)
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    expected = torch.zeros(())
    for answer in answers:
        ids = torch.tensor([[*answer.prompt, *(t.id for t in answer.tokens)]])
        log_probabilities = F.log_softmax(model(ids[:, :-1]), -1)[0]
        for place, chosen in enumerate(answer.tokens):
            if not chosen.forced:
                expected = expected - (answer.reward - 0.5) * log_probabilities[len(prompt) - 1 + place, chosen.id]
    expected = expected / 6  # tokens of the model's choice
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    (expected / 3).backward()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, dict(model.named_parameters())[name].grad, rtol=1e-3, atol=1e-6)


def test_answers_that_are_all_alike_teach_nothing(tmp_path: Path) -> None:
    stepper, model = stepper_of(config(), tmp_path / "run")
    prompt = prompt_of(PROBLEMS[0].prompt, TOKENIZER)
    assert stepper._learn([Rollout(prompt, [token(65)], 1.0)] * 3, 2, 1).item() == 0.0
    assert all(weight.grad is None for weight in model.parameters())


def test_a_seed_gives_the_same_answers_whatever_is_drawn_together() -> None:
    model = GPT(shape_of(config()))
    model.init_weights(4)

    def drawn(seed: str, rows: int) -> list[list[int]]:
        answers = sample_rollouts(model, TOKENIZER, PROBLEMS[0], 6, 4, Sampling(), seed, rows)
        return [[t.id for t in answer.tokens] for answer in answers]

    assert drawn("x", 2) == drawn("x", 6) != drawn("y", 6)


def test_the_reward_rises(tmp_path: Path) -> None:
    """From chance to nearly always right, on problems that differ in the prompt only."""
    settings = config()
    stepper, model = stepper_of(settings, tmp_path / "run")
    guess_either_digit(model)
    with RowLoader(ProblemRows(2), 2, 1, True, "epoch") as loader:
        for step in range(1, 61):
            stepper.run(loader, step, 1.0, 0.9, lambda *_: True)
    rewards = [e.value for e in read_history(tmp_path / "run" / "events.jsonl").evaluations if e.metric == "reward"]
    assert len(rewards) == 60
    assert sum(rewards[:5]) / 5 < 0.6
    assert sum(rewards[-5:]) / 5 > 0.9
