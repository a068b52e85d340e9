"""The tracer against real allocations, and the memory formula against the tracer."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from engine.config.schema import BatchConfig, CheckpointingMode, OptimConfig
from engine.model.gpt import GPT
from engine.model.memory_trace import step_through, trace_training
from engine.optim.optimizer import Optimizer
from engine.plan.shape import Shape
from tests.helpers.real_memory import peaks_of

SHAPE = Shape(depth=4, width=256, heads=2, vocab_size=2048, max_seq_len=256)
BATCH = BatchConfig(device_batch_size=4, total_batch_size=2 * 4 * 256, loss_chunk_tokens=128)
PHASES = ["forward", "loss", "backward", "optimizer step", "evaluation", "sampling"]


def bench() -> ModuleType:
    """bench/memory.py, which is no part of a package."""
    path = Path(__file__).parents[2] / "bench" / "memory.py"
    spec = importlib.util.spec_from_file_location("bench_memory", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_memory"] = module
    spec.loader.exec_module(module)
    return module


def test_formula_agrees_with_the_trace() -> None:
    found = bench()
    rows = [found.compare(case) for case in found.small_grid()]
    assert len(rows) >= 12
    for row in rows:
        assert abs(row["error"]) < 0.001, row
        for phase, sizes in row["phases"].items():
            assert sizes["predicted"] == pytest.approx(sizes["found"], rel=0.03), (phase, row)


@pytest.mark.parametrize("mode", ["none", "selective", "block"])
def test_trace_agrees_with_real_allocations(mode: CheckpointingMode) -> None:
    """The same step on real float32 tensors, counted by torch's own allocator."""
    model = GPT(SHAPE, mode)
    model.init_weights(0)
    optimizer = Optimizer(model, OptimConfig(), SHAPE.width)
    state = [*model.state_dict().values(), model.cos, model.sin, *optimizer.state_tensors().values()]
    peaks = peaks_of(lambda begin: step_through(model, model.trunk, optimizer, BATCH, begin), state)
    traced = trace_training(SHAPE, BATCH, mode, cuda=False).peaks
    assert list(traced) == PHASES
    for name, peak in traced.items():
        assert peak == pytest.approx(peaks[name], rel=0.02), name


def test_trace_sees_what_a_change_costs() -> None:
    """Independently of the formula: twice the chunk, ten more bytes for each logit; no chunks, all logits at once."""
    chunked = trace_training(SHAPE, BATCH, "none").peaks["loss"]
    larger = BatchConfig(device_batch_size=4, total_batch_size=2048, loss_chunk_tokens=256)
    full = BatchConfig(device_batch_size=4, total_batch_size=2048, loss="full")
    assert trace_training(SHAPE, larger, "none").peaks["loss"] - chunked == pytest.approx(10 * 128 * 2048, rel=0.02)
    assert trace_training(SHAPE, full, "none").peaks["backward"] > chunked + 12 * 1024 * 2048


def test_tracing_allocates_nothing_and_leaves_torch_as_it_was() -> None:
    before = F.scaled_dot_product_attention, F.rms_norm
    huge = Shape(depth=2, width=16_384, heads=128, vocab_size=65_536, max_seq_len=4096)
    batch = BatchConfig(device_batch_size=64, total_batch_size=2 * 64 * 4096, loss_chunk_tokens=65_536)
    assert max(trace_training(huge, batch, "none").peaks.values()) > 400 * 2**30  # more than any machine here has
    assert (F.scaled_dot_product_attention, F.rms_norm) == before
    assert torch.ones(2).sum() == 2  # real tensors again


def test_plan_shows_formula_and_trace_side_by_side() -> None:
    command = [sys.executable, "-c", "from tui.cli.main import entry; entry()", "plan", "--trace", "--json"]
    done = subprocess.run([*command, "--preset", "smoke", "--gpu", "cpu"], capture_output=True, text=True, check=True)
    phases = json.loads(done.stdout)
    assert list(phases) == PHASES
    for sizes in phases.values():
        assert sizes["predicted"] == pytest.approx(sizes["traced"], rel=0.02)


def test_the_gpu_checks_say_in_one_line_that_there_is_no_gpu() -> None:
    script = Path(__file__).parents[2] / "bench" / "gpu.sh"
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHON": sys.executable}
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, env=hidden, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: torch sees no CUDA GPU") and done.stderr.count("\n") == 1
    assert done.stdout == ""
