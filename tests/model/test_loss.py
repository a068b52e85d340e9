"""The chunked loss against full logits: value, gradients, memory."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.model.loss import IGNORED, SOFTCAP, gradients_of_logits, per_token_nats, softcapped_logits, summed_loss
from tests.helpers.storages import StorageTracker


def problem(
    tokens: int, width: int, vocab: int, seed: int, ignored_share: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Random hidden states, head and targets; logits reach into the curve of the cap."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, width, generator=generator)
    weight = torch.randn(vocab, width, generator=generator) * 10 / math.sqrt(width)
    targets = torch.randint(vocab, (tokens,), generator=generator)
    targets[torch.rand(tokens, generator=generator) < ignored_share] = IGNORED
    return hidden, weight, targets


def loss_and_gradients(
    hidden: Tensor, weight: Tensor, targets: Tensor, kind: str, chunk: int, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    hidden, weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    loss = summed_loss(hidden, weight, targets, kind, chunk)
    (loss * scale).backward()
    return loss.detach(), hidden.grad, weight.grad


def assert_equal_to(actual: Tensor, expected: Tensor, rtol: float) -> None:
    """Equal within rtol; elements that are sums which cancel, within rtol of the largest element."""
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol * float(expected.abs().max()))


@settings(max_examples=80, deadline=None)
@given(
    tokens=st.integers(1, 50),
    width=st.integers(1, 24),
    vocab=st.integers(2, 70),
    chunk=st.integers(1, 60),
    ignored_share=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    scale=st.sampled_from([1.0, 1 / 7, 3.0]),
    seed=st.integers(0, 2**20),
)
def test_chunked_equals_full(
    tokens: int, width: int, vocab: int, chunk: int, ignored_share: float, scale: float, seed: int
) -> None:
    hidden, weight, targets = problem(tokens, width, vocab, seed, ignored_share)
    full = loss_and_gradients(hidden, weight, targets, "full", chunk, scale)
    chunked = loss_and_gradients(hidden, weight, targets, "chunked", chunk, scale)
    # where the target's probability is nearly 1, nats and gradient are differences of nearly equal numbers: in both
    # computations right only absolutely, to the rounding of a logit (up to 15) and of a probability (up to 1)
    probability = 5e-7 * scale
    roundings = (2e-6 * tokens, probability * float(weight.abs().max()), probability * float(hidden.abs().sum()))
    for actual, expected, rounding in zip(chunked, full, roundings, strict=True):
        assert actual.dtype == torch.float32
        limit = max(rounding, 1e-5 * float(expected.abs().max()))
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=limit)
    with torch.no_grad():
        evaluated = summed_loss(hidden, weight, targets, "chunked", chunk)
    torch.testing.assert_close(evaluated, chunked[0])


def test_full_is_cross_entropy_of_capped_logits() -> None:
    hidden, weight, targets = problem(12, 8, 30, seed=1)
    logits = 15 * torch.tanh((hidden.double() @ weight.double().T) / 15)
    expected = -torch.log_softmax(logits, 1)[torch.arange(12), targets].sum()
    assert_equal_to(summed_loss(hidden, weight, targets, "full", 4).double(), expected, 1e-6)
    torch.testing.assert_close(softcapped_logits(hidden, weight).double(), logits, rtol=1e-5, atol=1e-5)


def test_logits_at_the_cap_stay_finite() -> None:
    """With +-15 at both ends, exp without a subtracted maximum neither overflows nor vanishes."""
    hidden = torch.tensor([[1e4], [-1e4]])
    weight = torch.tensor([[1.0], [-1.0], [-1.0]])
    targets = torch.tensor([1, 0])
    nats = per_token_nats(hidden, weight, targets, 2)
    torch.testing.assert_close(nats, torch.tensor([30.0, 30.0 + math.log(2)]))
    assert all(gradient.isfinite().all() for gradient in loss_and_gradients(hidden, weight, targets, "chunked", 2))


def test_per_token_nats_sum_to_the_loss_and_skip_ignored() -> None:
    hidden, weight, targets = problem(33, 8, 40, seed=2, ignored_share=0.4)
    nats = per_token_nats(hidden.requires_grad_(), weight, targets, 10)
    assert nats.shape == (33,) and not nats.requires_grad
    assert (nats[targets == IGNORED] == 0).all() and (nats[targets != IGNORED] > 0).all()
    assert_equal_to(nats.sum(), summed_loss(hidden, weight, targets, "full", 10).detach(), 1e-5)


def test_gradients_accumulate_over_micro_batches() -> None:
    hidden, weight, targets = problem(20, 8, 30, seed=3)
    whole = loss_and_gradients(hidden, weight, targets, "chunked", 8)
    head = weight.clone().requires_grad_()
    for part in (slice(0, 9), slice(9, 20)):
        summed_loss(hidden[part].clone().requires_grad_(), head, targets[part], "chunked", 8).backward()
    assert_equal_to(head.grad, whole[2], 1e-5)


def test_bfloat16_activations_with_a_float32_head() -> None:
    """What CUDA computes: bfloat16 matrix products, float32 softmax, a float32 gradient of the head."""
    hidden, weight, targets = problem(64, 32, 100, seed=4, ignored_share=0.2)
    full = loss_and_gradients(hidden.bfloat16(), weight, targets, "full", 16, 0.5)
    chunked = loss_and_gradients(hidden.bfloat16(), weight, targets, "chunked", 16, 0.5)
    assert [t.dtype for t in chunked] == [torch.float32, torch.bfloat16, torch.float32]
    for actual, expected in zip(chunked, full, strict=True):
        assert_equal_to(actual, expected, 0.02)


def test_second_backward_is_refused() -> None:
    hidden, weight, targets = problem(8, 4, 10, seed=5)
    loss = summed_loss(hidden.requires_grad_(), weight, targets, "chunked", 4)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_memory_is_that_of_one_chunk(dtype: torch.dtype) -> None:
    tokens, width, vocab, chunk = 4096, 96, 2048, 32
    hidden, weight, targets = problem(tokens, width, vocab, seed=6)
    peaks = {}
    for kind in ("full", "chunked"):
        states, head = hidden.to(dtype).requires_grad_(), weight.clone().requires_grad_()
        with StorageTracker() as tracker:
            summed_loss(states, head, targets, kind, chunk).backward()
        peaks[kind] = tracker.peak
    all_logits = 4 * tokens * vocab
    assert peaks["full"] > all_logits  # the tracker sees what it should
    assert peaks["chunked"] < all_logits / 8
    while_pointwise = 10 * chunk * vocab + 6 * vocab * width
    while_multiplying = 2 * chunk * vocab + 8 * vocab * width
    gradient_of_states = states.nbytes
    assert peaks["chunked"] <= max(while_pointwise, while_multiplying) + gradient_of_states + 16 * tokens


def test_evaluation_computes_no_gradients() -> None:
    tokens, width, vocab, chunk = 1024, 64, 512, 32
    hidden, weight, targets = problem(tokens, width, vocab, seed=7)
    hidden.requires_grad_(), weight.requires_grad_()
    with torch.no_grad(), StorageTracker() as tracker:
        assert not summed_loss(hidden, weight, targets, "chunked", chunk).requires_grad
    assert tracker.peak <= 10 * chunk * vocab + 16 * tokens  # no room in there for (V, d) or (N, d)


def test_backward_makes_no_second_head_gradient() -> None:
    hidden, weight, targets = problem(64, 64, 512, seed=8)
    loss = summed_loss(hidden.requires_grad_(), weight.requires_grad_(), targets, "chunked", 16)
    with StorageTracker() as tracker:
        loss.backward()
    assert tracker.peak < weight.nbytes / 2


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(1, 30),
    vocab=st.integers(2, 70),
    ignored_share=st.sampled_from([0.0, 0.4, 1.0]),
    seed=st.integers(0, 999),
)
def test_the_form_for_the_compiler_is_the_gradient_of_full_logits(
    tokens: int, vocab: int, ignored_share: float, seed: int
) -> None:
    raw, _, targets = problem(tokens, vocab, vocab, seed, ignored_share)
    raw = (10 * raw).requires_grad_()
    capped = SOFTCAP * torch.tanh(raw / SOFTCAP)
    expected = F.cross_entropy(capped, targets, ignore_index=IGNORED, reduction="none")
    (gradient,) = torch.autograd.grad(expected.sum(), raw)
    nats, found = gradients_of_logits(raw.detach() / SOFTCAP, targets)
    torch.testing.assert_close(nats, expected.detach(), rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-6)


def test_the_form_for_the_compiler_compiles_whole() -> None:
    raw, _, targets = problem(8, 40, 40, 0, 0.3)
    compiled = torch.compile(gradients_of_logits, backend="aot_eager", fullgraph=True, dynamic=False)
    for found, expected in zip(compiled(raw, targets), gradients_of_logits(raw, targets), strict=True):
        torch.testing.assert_close(found, expected)
