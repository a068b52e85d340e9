"""Sampling: greedy, at a temperature, from the likeliest, until a stop."""

import math
from itertools import islice

import pytest
import torch

from engine.errors import UsageError
from engine.model.generate import draw, generate
from engine.model.gpt import GPT
from engine.plan.shape import Shape


@pytest.fixture
def model() -> GPT:
    model = GPT(Shape(depth=2, width=128, heads=1, vocab_size=60, max_seq_len=16))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.empty(weight.shape).normal_(0, 1.5 / math.sqrt(weight.shape[1]), generator=generator))
    return model


def test_greedy_takes_the_likeliest_of_the_full_forward(model: GPT) -> None:
    tokens = [1, 2, 3]
    for drawn in generate(model, [1, 2, 3], 24, temperature=0):  # 24: past max_seq_len
        with torch.no_grad():
            assert drawn == int(model(torch.tensor([tokens]))[0, -1].argmax())
        tokens.append(drawn)
    assert len(tokens) == 27


def test_the_generator_decides_the_text(model: GPT) -> None:
    def text(seed: int, **options: float) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return list(generate(model, [5], 12, temperature=1.0, generator=generator, **options))

    assert text(1) == text(1) != text(2)
    assert text(1, top_k=1) == list(generate(model, [5], 12, temperature=0))


def test_it_stops_before_a_stop_id(model: GPT) -> None:
    greedy = list(generate(model, [7, 8], 10, temperature=0))
    stop = greedy[4]
    assert list(generate(model, [7, 8], 10, temperature=0, stop_ids={stop})) == greedy[: greedy.index(stop)]


def test_it_streams_and_leaves_gradients_on(model: GPT) -> None:
    assert len(list(islice(generate(model, [1], 10**4, temperature=0), 3))) == 3
    assert torch.is_grad_enabled()
    for _ in generate(model, [1], 2, temperature=0):
        assert torch.is_grad_enabled()


def test_training_goes_on_after_a_sample_past_max_seq_len(model: GPT) -> None:
    list(generate(model, [1], 40, temperature=0))
    model.trunk(torch.arange(16).unsqueeze(0)).sum().backward()
    assert model.blocks[0].attention.query.weight.grad.isfinite().all()


def test_draws_follow_the_temperature_and_top_k() -> None:
    logits = torch.tensor([0.0, 1.0, 3.0, 2.0])
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.tensor([draw(logits, 2.0, None, generator) for _ in range(4000)]), minlength=4)
    torch.testing.assert_close(counts / 4000, torch.softmax(logits / 2, 0), rtol=0, atol=0.03)
    likeliest = [draw(logits, 2.0, 2, generator) for _ in range(2000)]
    assert set(likeliest) == {2, 3}
    assert likeliest.count(2) / 2000 == pytest.approx(1 / (1 + math.exp(-1 / 2)), abs=0.04)
    assert draw(logits, 1.0, 99, generator) in range(4)  # a top_k above the vocabulary keeps all


def test_an_empty_prompt_is_an_error(model: GPT) -> None:
    with pytest.raises(UsageError, match="prompt has no tokens"):
        next(generate(model, [], 5, temperature=0))
