"""Branches behind a shared beginning: the hidden states that each has where it follows the beginning by itself."""

import math

import pytest
import torch

from engine.model.branches import Branches
from engine.model.gpt import GPT
from engine.plan.shape import Shape

VOCABULARY = 50


def random_model(dtype: torch.dtype = torch.float32) -> GPT:
    """Two layers, two heads, and a context that the tests go beyond."""
    model = GPT(Shape(depth=2, width=64, heads=2, vocab_size=VOCABULARY, max_seq_len=16), compute_dtype=dtype)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.empty(weight.shape).normal_(0, 1 / math.sqrt(weight.shape[1]), generator=generator))
    return model


def row_of(beginning: int, ends: list[int], length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(tokens, positions, branch) of a row, padded to `length`."""
    tokens, positions, branch = torch.zeros(3, length, dtype=torch.long)
    generator = torch.Generator().manual_seed(beginning)
    used = beginning + sum(ends)
    tokens[:used] = torch.randint(VOCABULARY, (used,), generator=generator)
    positions[:used] = torch.cat([torch.arange(beginning), *(torch.arange(beginning, beginning + n) for n in ends)])
    branch[:used] = torch.cat([torch.zeros(beginning), *(torch.full((n,), i + 1) for i, n in enumerate(ends))])
    return tokens, positions, branch


@pytest.mark.parametrize("shared", [0, 1, 3])
@torch.no_grad()
def test_every_branch_is_as_if_it_followed_the_beginning_alone(shared: int) -> None:
    model = random_model()
    shapes = [(3, [2, 5, 1]), (20, [3]), (7, [1, 1, 1, 1]), (9, [])]  # 20 + 3 tokens: longer than the context
    rows = [row_of(beginning, ends, 24) for beginning, ends in shapes]
    tokens, positions, branch = (torch.stack(parts) for parts in zip(*rows, strict=True))
    hidden = model.trunk(tokens, Branches(positions, branch, shared, 24, torch.float32))
    assert hidden.isfinite().all()  # the padding, too: a number that is none would spread
    for place, (beginning, ends) in enumerate(shapes):
        start = beginning
        for length in ends or [0]:
            alone = torch.cat([tokens[place, :beginning], tokens[place, start : start + length]])
            expected = model.trunk(alone[None])[0]
            found = torch.cat([hidden[place, :beginning], hidden[place, start : start + length]])
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
            start += length


@torch.no_grad()
def test_branches_do_not_see_each_other() -> None:
    model = random_model()
    tokens, positions, branch = (part[None] for part in row_of(4, [3, 3], 10))
    branches = Branches(positions, branch, 4, 10, torch.float32)
    before = model.trunk(tokens, branches)
    tokens[0, 4:7] = (tokens[0, 4:7] + 1) % VOCABULARY
    after = model.trunk(tokens, branches)
    assert torch.equal(after[0, 7:], before[0, 7:])
    assert not torch.equal(after[0, 4:7], before[0, 4:7])
