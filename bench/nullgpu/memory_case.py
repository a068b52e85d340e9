"""One configuration on the null GPU: `python memory_case.py PRESET '{"batch.activation_checkpointing": "block"}'`.

Prints one JSON object: peaks of each phase and the formula's, what torch's allocator reserved, what compiling took.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import counters
from phases import phases_of_a_step

from engine.config.layers import from_dict, with_changes
from engine.hardware import gpu_catalog
from engine.hardware.detect import detect_gpu
from engine.model.compiling import compile_for_each_size
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan import memory
from engine.plan.memory_timeline import full_timeline, phase_peaks
from engine.plan.presets import load_preset
from engine.plan.shape import shape_of

CARD = "a100-80gb"  # for presets that name no GPU


def measure(preset: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Two steps, evaluations and samples: the first compiles, the second is measured."""
    config = with_changes(from_dict(load_preset(preset)), changes)
    gpu = gpu_catalog.by_id(config.runtime.gpu if config.runtime.gpu.startswith("a100") else CARD)
    here = detect_gpu()
    assert here is not None, "run this on the null GPU"
    compiled = config.runtime.compile != "off"
    shape = shape_of(config)
    mode = memory.resolve_checkpointing(shape, config.batch, gpu, compiled)
    predicted = phase_peaks(full_timeline(shape, config.batch, mode, cuda=True, compiled=compiled))
    torch.set_float32_matmul_precision("high")
    model = GPT(shape, mode, "cuda")  # weights stay unset: the device has no numbers
    optimizer = Optimizer(model, config.optim, shape.width)
    trunk = compile_for_each_size(model.trunk) if compiled else model.trunk
    began = Spent.now()
    first = phases_of_a_step(model, trunk, optimizer, config.batch)
    compiling = Spent.now() - began
    first_reserved = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    before, began = counters.read(), Spent.now()
    found = phases_of_a_step(model, trunk, optimizer, config.batch)
    second, after = Spent.now() - began, counters.read()
    reserved = torch.cuda.memory_reserved()
    workspaces = _workspaces()
    peak = max(found.values())
    return {
        "preset": preset,
        "changes": changes,
        "depth": shape.depth,
        "rows": config.batch.device_batch_size,
        "length": shape.max_seq_len,
        "mode": mode,
        "loss": config.batch.loss,
        "compiled": compiled,
        "allocator": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""),
        "phases": {
            phase: {"predicted": predicted[phase] + workspaces, "found": bytes_} for phase, bytes_ in found.items()
        },
        "peak": peak,
        "predicted": max(predicted[phase] for phase in found) + workspaces,
        "workspaces": workspaces,
        "reserved": reserved,
        "slack": reserved / peak - 1,
        "first_peak": max(first.values()),
        "first_reserved": first_reserved,
        "compile": (compiling - second)._asdict(),
        "cached_graphs": _cached_graphs(),
        "graphs_later": after["graphs"] - before["graphs"],
        "breaks": after["breaks"],
    }


class Spent(NamedTuple):
    """Seconds: wall time, CPU time of this process, and CPU time of its compile processes."""

    wall: float
    cpu: float
    workers: float

    @classmethod
    def now(cls) -> "Spent":
        own = resource.getrusage(resource.RUSAGE_SELF)
        gone = resource.getrusage(resource.RUSAGE_CHILDREN)
        workers = gone.ru_utime + gone.ru_stime
        for child in psutil.Process().children(recursive=True):
            try:
                times = child.cpu_times()
                workers += times.user + times.system
            except psutil.Error:
                continue
        return cls(time.perf_counter(), own.ru_utime + own.ru_stime, workers)

    def __sub__(self, before: "Spent") -> "Spent":
        return Spent(*(late - early for late, early in zip(self, before, strict=True)))


def _workspaces() -> int:
    """Bytes of cuBLAS's workspaces in the allocator; plans have them in the overhead."""
    with_them = torch.cuda.memory_allocated()
    torch._C._cuda_clearCublasWorkspaces()
    return with_them - torch.cuda.memory_allocated()


def _cached_graphs() -> int:
    """Graphs that another case compiled before; compile times are those of the others."""
    from torch._dynamo.utils import counters as of_dynamo

    return int(of_dynamo["inductor"]["fxgraph_cache_hit"])


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})), flush=True)
    os._exit(0)  # nothing to clean up
