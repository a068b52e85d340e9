"""The host memory of a run on CUDA, against the tensors that its checkpoints are copied from."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.config.layers import from_dict
from engine.config.schema import OptimConfig, heads_of, width_of
from engine.core.units import GIB
from engine.hardware.gpu_catalog import by_id, cpu
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.host_memory import CUDA_PROCESS, checkpoint_copy, host_memory, pinned
from engine.plan.plan import make_plan
from engine.plan.presets import load_preset
from engine.plan.shape import Shape, shape_of


@given(st.integers(1, 2**40))
def test_pinned_memory_comes_in_powers_of_two(size: int) -> None:
    """As torch.cuda.host_memory_stats says of the real allocator: 3 MiB and a byte take 4 MiB, 320 MiB take 512."""
    got = pinned(size)
    assert got.bit_count() == 1 and size <= got < 2 * size
    assert pinned(got) == got


@pytest.mark.parametrize(("depth", "vocab"), [(1, 512), (3, 1000), (4, 4096)])
def test_the_copy_is_counted_tensor_by_tensor(depth: int, vocab: int) -> None:
    shape = Shape(depth=depth, width=width_of(depth), heads=heads_of(depth), vocab_size=vocab, max_seq_len=32)
    model = GPT(shape, "none", compute_dtype=torch.bfloat16)  # as on CUDA
    tensors = [*model.state_dict().values(), *Optimizer(model, OptimConfig(), shape.width).state_tensors().values()]
    large = [tensor for tensor in tensors if tensor.ndim]  # two steps of AdamW are single numbers
    assert len(tensors) - len(large) == 2
    assert checkpoint_copy(shape) == sum(pinned(tensor.nbytes) for tensor in large)


def test_a_plan_says_what_the_host_must_have() -> None:
    config = from_dict(load_preset("full-40gb"))
    plan = make_plan(config, by_id("a100-40gb"))
    copy = plan.host_memory - CUDA_PROCESS
    assert plan.host_memory == host_memory(shape_of(config))
    # d20: 160 matrices of 6.25 MiB take 8, 80 of 25 take 32, three tables of 320 MiB take 512, three of 160 take 256
    assert copy == (160 * 8 + 80 * 32 + 3 * 512 + 3 * 256) * 2**20 > 1.3 * plan.checkpoint_bytes
    host = make_plan(config, cpu(2, 64 * GIB))
    assert host.host_memory == host.memory.total
