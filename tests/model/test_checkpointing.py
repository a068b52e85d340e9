"""Activation checkpointing: the same gradients in every mode, compiled too, and less kept in each."""

import math

import pytest
import torch
from torch import Tensor

from engine.config.schema import CheckpointingMode, heads_of, width_of
from engine.model.gpt import GPT
from engine.model.loss import summed_loss
from engine.plan.shape import Shape
from tests.helpers.storages import StorageTracker

BATCH, LENGTH = 4, 32
DEPTH = 3
MODES: list[CheckpointingMode] = ["none", "selective", "block"]


def new_model(mode: CheckpointingMode, dtype: torch.dtype = torch.float32, depth: int = DEPTH) -> GPT:
    """No matrix is zero, so every part of it has a gradient."""
    shape = Shape(depth=depth, width=width_of(depth), heads=heads_of(depth), vocab_size=64, max_seq_len=LENGTH)
    model = GPT(shape, mode, compute_dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.empty(weight.shape).normal_(0, 1.5 / math.sqrt(weight.shape[1]), generator=generator))
    return model


def gradients(model: GPT, trunk: torch.nn.Module | None = None) -> dict[str, Tensor]:
    """After two micro-batches."""
    for seed in range(2):
        tokens = torch.randint(64, (BATCH, LENGTH), generator=torch.Generator().manual_seed(seed))
        hidden = (trunk or model.trunk)(tokens).flatten(0, 1)
        summed_loss(hidden, model.head.weight, tokens.flatten(), "chunked", 16).backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["selective", "block"])
def test_gradients_are_exactly_those_without(mode: CheckpointingMode, dtype: torch.dtype) -> None:
    expected, actual = gradients(new_model("none", dtype)), gradients(new_model(mode, dtype))
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert all(gradient.any() for gradient in actual.values())


def test_gradients_compiled_are_those_without() -> None:
    found = {}
    for mode in MODES:
        model = new_model(mode, depth=1)
        # the whole of dynamo and autograd's partitioning, without the minute of C++ that Inductor takes
        trunk = torch.compile(model.trunk, dynamic=False, fullgraph=True, backend="aot_eager_decomp_partition")
        found[mode] = gradients(model, trunk)
    for mode in ("selective", "block"):
        for name, expected in found["none"].items():
            error = (found[mode][name] - expected).norm() / expected.norm()
            assert float(error) < 1e-6


@pytest.mark.parametrize(("mode", "states"), [("none", 18), ("selective", 10), ("block", 1)])
def test_each_block_keeps_what_is_documented(mode: CheckpointingMode, states: int) -> None:
    """In hidden states, (B, T, d) activations, of one more block."""
    held = []
    for depth in (2, 6):
        model = new_model(mode, depth=depth)
        tokens = torch.zeros(BATCH, LENGTH, dtype=torch.int64)
        with StorageTracker() as tracker:
            hidden = model.trunk(tokens)
            held.append(tracker.current / (4 * tokens.numel() * model.shape.width) - 3)
            del hidden
    statistics = 2 * 20 / 384  # of norms and attention, in states at the narrower width at most
    for depth, kept in zip((2, 6), held, strict=True):
        assert kept == pytest.approx(depth * states, abs=depth * statistics + 0.5)


def test_without_gradients_nothing_is_kept() -> None:
    held = {}
    for mode in MODES:
        model = new_model(mode)
        with torch.no_grad(), StorageTracker() as tracker:
            hidden = model.trunk(torch.zeros(BATCH, LENGTH, dtype=torch.int64))
            held[mode] = tracker.current
            del hidden
    assert len(set(held.values())) == 1 and held["none"] < 2 * 4 * BATCH * LENGTH * width_of(DEPTH)
