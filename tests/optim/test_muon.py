"""Muon against torch's own, and its orthogonalisation against the singular value decomposition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.optim.muon import NEWTON_SCHULZ, groups_of_one_shape, muon_step, orthogonalize

SHAPES = [(32, 32), (96, 24), (24, 96), (32, 32), (32, 32)]


def random_matrices(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def test_agrees_with_torch_over_several_steps() -> None:
    start = random_matrices(0)
    weights, momenta = [w.clone() for w in start], [torch.zeros_like(w) for w in start]
    theirs = [torch.nn.Parameter(w.clone()) for w in start]
    oracle = torch.optim.Muon(theirs, lr=0.05, weight_decay=0.0, momentum=0.9, adjust_lr_fn="original")
    for step in range(1, 5):
        gradients = random_matrices(step)
        muon_step(weights, gradients, momenta, learning_rate=0.05, momentum=0.9)
        for weight, gradient in zip(theirs, gradients, strict=True):
            weight.grad = gradient.clone()
        oracle.step()
    for first, ours, their, momentum in zip(start, weights, theirs, momenta, strict=True):
        torch.testing.assert_close(momentum, oracle.state[their]["momentum_buffer"])
        error = (ours - their.detach()).norm() / (ours - first).norm()
        assert float(error) < 0.02  # torch orthogonalises in bfloat16


@pytest.mark.parametrize("size", [(4, 16, 16), (2, 40, 12), (3, 12, 40)])
def test_orthogonalize_maps_singular_values_and_keeps_directions(size: tuple[int, int, int]) -> None:
    matrices = torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, singular, right = torch.linalg.svd(matrices, full_matrices=False)
    mapped = singular / singular.norm(dim=-1, keepdim=True)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        mapped = a * mapped + b * mapped**3 + c * mapped**5
    torch.testing.assert_close(orthogonalize(matrices), left @ (mapped.unsqueeze(-1) * right))
    assert float(mapped.min()) > 0.5
    assert float(mapped.max()) < 1.3


def test_zero_gradients_change_nothing() -> None:
    weight, momentum = torch.ones(8, 4), torch.zeros(8, 4)
    muon_step([weight], [torch.zeros(8, 4)], [momentum], learning_rate=0.1, momentum=0.9)
    assert torch.equal(weight, torch.ones(8, 4))


def test_groups_do_not_change_the_result() -> None:
    results = []
    for group_bytes in (1, 2 * 4 * 32 * 32, 2**30):
        weights, momenta = random_matrices(0), random_matrices(2)
        muon_step(weights, random_matrices(1), momenta, 0.05, 0.9, group_bytes=group_bytes)
        results.append(weights)
    for weights in results[1:]:
        for weight, expected in zip(weights, results[0], strict=True):
            torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-6)


@given(
    shapes=st.lists(st.sampled_from([(2, 2), (4, 2), (2, 4), (8, 8)]), max_size=30), group_bytes=st.integers(1, 1000)
)
def test_groups_hold_every_matrix_once_and_stay_small(shapes: list[tuple[int, int]], group_bytes: int) -> None:
    matrices = [torch.empty(shape) for shape in shapes]
    groups = groups_of_one_shape(matrices, group_bytes)
    assert sorted(index for group in groups for index in group) == list(range(len(shapes)))
    for group in groups:
        assert len({shapes[index] for index in group}) == 1
        assert len(group) == 1 or sum(matrices[index].nbytes for index in group) <= group_bytes
