"""The memory breakdown: sums, order, what `auto` chooses, and that it costs nothing to ask."""

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.layers import from_dict
from engine.config.schema import BatchConfig, depth_is_valid, heads_of, width_of
from engine.core.units import GIB
from engine.hardware import gpu_catalog
from engine.hardware.gpu_catalog import Gpu
from engine.plan.memory import (
    CHECKPOINTING_MODES,
    CUDA_CONTEXT,
    SAFE_HEADROOM,
    Memory,
    estimate,
    peak_by_mode,
    resolve_checkpointing,
)
from engine.plan.memory_timeline import embedding_workspace, full_timeline, phase_peaks
from engine.plan.plan import make_plan
from engine.plan.shape import Shape

A100 = gpu_catalog.by_id("a100-40gb")
PARTS = ("weights", "gradients", "optimizer", "activations", "loss", "overhead")
PHASES = ["forward", "loss", "backward", "optimizer step", "evaluation", "sampling", "checkpoint", "resume"]


def shape_for(depth: int, seq: int = 2048, vocab: int = 65_536) -> Shape:
    return Shape(depth=depth, width=width_of(depth), heads=heads_of(depth), vocab_size=vocab, max_seq_len=seq)


def batch_of(rows: int, accumulation: int = 2, seq: int = 2048, **others: object) -> BatchConfig:
    settings = {"device_batch_size": rows, "total_batch_size": accumulation * rows * seq, **others}
    return msgspec.convert(settings, BatchConfig)


def gpu_with(capacity: int) -> Gpu:
    return msgspec.structs.replace(A100, capacity=capacity)


shapes = st.builds(
    shape_for,
    st.integers(1, 40).filter(depth_is_valid),
    st.sampled_from([128, 512, 2048, 4096]),
    st.sampled_from([512, 8192, 65_536]),
)
batches = st.builds(
    BatchConfig,
    device_batch_size=st.integers(1, 64),
    total_batch_size=st.integers(4096 * 64, 4096 * 64 * 8),
    loss=st.sampled_from(["chunked", "full"]),
    loss_chunk_tokens=st.integers(16, 4096),
)


@given(shape=shapes, batch=batches, compiled=st.booleans(), cuda=st.booleans())
def test_the_parts_add_up_to_the_largest_phase(shape: Shape, batch: BatchConfig, compiled: bool, cuda: bool) -> None:
    device = A100 if cuda else gpu_catalog.cpu(2, 16 * GIB)
    for memory in peak_by_mode(shape, batch, device, compiled).values():
        assert sum(getattr(memory, part) for part in PARTS) == memory.total
        assert max(memory.phases.values()) == memory.total - memory.overhead
        assert all(getattr(memory, part) >= 0 for part in PARTS)
        assert list(memory.phases) == PHASES
        assert memory.fits == (memory.total <= device.capacity) == (memory.headroom >= 0)


@given(shape=shapes, batch=batches, compiled=st.booleans())
def test_what_is_recomputed_is_not_kept(shape: Shape, batch: BatchConfig, compiled: bool) -> None:
    loss = [memory.phases["loss"] for memory in peak_by_mode(shape, batch, A100, compiled).values()]
    assert loss[0] > loss[1] > loss[2]


@given(shape=shapes, batch=batches, compiled=st.booleans(), gib=st.floats(0.1, 200))
def test_auto_is_the_first_mode_with_headroom(shape: Shape, batch: BatchConfig, compiled: bool, gib: float) -> None:
    gpu = gpu_with(int(gib * GIB))
    auto = msgspec.structs.replace(batch, activation_checkpointing="auto")
    memories = peak_by_mode(shape, auto, gpu, compiled)
    roomy = [mode for mode in CHECKPOINTING_MODES if memories[mode].headroom >= SAFE_HEADROOM]
    expected = roomy[0] if roomy else "block"
    assert resolve_checkpointing(shape, auto, gpu, compiled) == expected
    assert estimate(shape, auto, gpu, compiled) == memories[expected]
    for mode in CHECKPOINTING_MODES:  # a mode that is named stays, whether it fits or not
        named = msgspec.structs.replace(batch, activation_checkpointing=mode)
        assert estimate(shape, named, gpu, compiled) == memories[mode]


def test_auto_takes_more_the_smaller_the_card() -> None:
    batch = batch_of(16, activation_checkpointing="auto")
    chosen = [resolve_checkpointing(shape_for(20), batch, gpu_with(gib * GIB), True) for gib in (80, 40, 20)]
    assert chosen == ["none", "selective", "block"]


@given(shape=shapes, batch=batches, compiled=st.booleans())
def test_more_rows_never_need_less(shape: Shape, batch: BatchConfig, compiled: bool) -> None:
    steps = batch.total_batch_size
    larger = msgspec.structs.replace(
        batch, device_batch_size=2 * batch.device_batch_size, total_batch_size=4 * steps * shape.max_seq_len
    )
    smaller = msgspec.structs.replace(batch, total_batch_size=4 * steps * shape.max_seq_len)
    assert estimate(shape, larger, A100, compiled).total >= estimate(shape, smaller, A100, compiled).total


def test_one_micro_batch_has_no_gradients_beside_its_activations() -> None:
    shape = shape_for(20)
    alone, two = (estimate(shape, batch_of(8, accumulation), A100, False) for accumulation in (1, 2))
    ids = 16 * 8 * 2048
    assert two.phases["loss"] - alone.phases["loss"] == two.weights + ids
    assert two.phases["optimizer step"] - alone.phases["optimizer step"] == ids  # there they all exist in any case


def test_weights_gradients_and_optimizer_by_hand() -> None:
    """d20 has 560,988,160 parameters: 393,216,000 in matrices and twice 83,886,080."""
    memory = estimate(shape_for(20), batch_of(8), A100, True)
    assert memory.weights == memory.gradients == 4 * 393_216_000 + (4 + 2) * 83_886_080
    assert memory.optimizer == 4 * 393_216_000 + (8 + 4) * 83_886_080


def test_full_loss_holds_all_logits_even_when_compiled() -> None:
    """The loss lies outside the compiled trunk."""
    shape, logits = shape_for(12), 8 * 2048 * 65_536
    for compiled in (False, True):
        full, chunked = (estimate(shape, batch_of(8, loss=kind), A100, compiled) for kind in ("full", "chunked"))
        assert full.loss >= 16 * logits > 4 * chunked.loss


def test_the_optimizer_step_is_bounded_by_its_groups() -> None:
    """However deep the model, Muon's working set is that of one group of 64 MiB."""
    for depth in (8, 20, 30):
        peaks = phase_peaks(full_timeline(shape_for(depth), batch_of(1), "block", cuda=True, compiled=False))
        state = shape_for(depth).params
        weights = 4 * (state.matrices + state.lm_head) + 2 * state.embedding
        optimizer = 4 * state.matrices + 8 * state.lm_head + 4 * state.embedding
        assert peaks["optimizer step"] - 2 * weights - optimizer < 200 * 2**20


def test_small_batches_need_no_workspace_for_the_embedding() -> None:
    assert embedding_workspace(3072, 65_536, 1280) == 0
    assert embedding_workspace(4096, 65_536, 1280) == 48 * 4096 + 4 * 1280 * (4096 + 409)


def test_a_cpu_holds_the_copy_that_checkpoints_are_written_from() -> None:
    memory = estimate(shape_for(4), batch_of(2), gpu_catalog.cpu(2, 16 * GIB), False)
    assert memory.overhead > memory.weights + memory.optimizer


@pytest.mark.parametrize("mode", ["none", "auto"])
def test_the_plan_shows_what_each_mode_saves_and_costs(mode: str) -> None:
    config = from_dict({"model": {"depth": 20}, "batch": {"device_batch_size": 32, "activation_checkpointing": mode}})
    plan = make_plan(config, A100)
    options = {option.mode: option for option in plan.memory_by_checkpointing}
    assert list(options) == list(CHECKPOINTING_MODES)
    assert options["none"].peak > options["selective"].peak > options["block"].peak
    assert options["none"].time_factor == 1 and not options["none"].fits
    factors = [option.time_factor for option in options.values() if option.time_factor is not None]
    assert factors == sorted(factors) and factors[-1] < 1.5
    assert plan.activation_checkpointing == ("none" if mode == "none" else "block")
    assert plan.memory.total == options[plan.activation_checkpointing].peak
    assert plan.memory.fits == (mode == "auto")


def test_planning_does_not_import_torch() -> None:
    code = "import sys, engine.plan.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_breakdown_survives_json() -> None:
    memory = estimate(shape_for(12), batch_of(4), A100, True)
    assert msgspec.json.decode(msgspec.json.encode(memory), type=Memory) == memory


@given(shape=shapes, batch=batches, compiled=st.booleans())
def test_blocks_that_are_computed_again_leave_more_unused_in_the_allocator(
    shape: Shape, batch: BatchConfig, compiled: bool
) -> None:
    for mode, memory in peak_by_mode(shape, batch, A100, compiled).items():
        slack = memory.overhead - CUDA_CONTEXT
        share = {"none": 0.03, "selective": 0.03, "block": 0.05}[mode]
        assert slack == pytest.approx(share * (memory.total - memory.overhead), abs=1)
