"""Measure how long training waits for a checkpoint, and writing and verifying it: bench/checkpoint.py [--depth 8]."""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from engine.checkpoint.async_writer import CheckpointWriter
from engine.checkpoint.checkpoint import first_state, write_checkpoint
from engine.checkpoint.manifest import verify
from engine.config.layers import from_dict
from engine.config.schema import RunConfig
from engine.device.allocator import settle_allocator
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.shape import shape_of
from engine.run.environment import prepare_this_process

RESULT = Path(__file__).resolve().parent / "results" / "checkpoint.json"
ROUNDS = 5


def main() -> None:
    """Measure on this machine's disk and device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    given = parser.parse_args()
    torch.set_num_threads(1)
    prepare_this_process()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settle_allocator(device, print)
    config = from_dict({"model": {"depth": given.depth}, "tokenizer": {"vocab_size": 32768}})
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        found = measure(config, device, folder)
    finally:
        shutil.rmtree(folder)
    found |= {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python bench/checkpoint.py --depth {given.depth}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {device}",
        "versions": {"python": platform.python_version(), "torch": version("torch"), "nanosolo": version("nanosolo")},
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(RESULT.read_text())


def measure(config: RunConfig, device: str, folder: Path) -> dict[str, object]:
    """Seconds of each part, medians of a few rounds."""
    shape = shape_of(config)
    model = GPT(shape, device=device)
    model.init_weights(1)
    optimizer = Optimizer(model, config.optim, shape.width)
    state = first_state(config)
    writer = CheckpointWriter(folder, model, optimizer, lambda: None)
    tokens = torch.randint(shape.vocab_size, (4, 512), device=device)
    stalls, writes, checks, plain = [], [], [], []
    _forward_and_backward(model, tokens)
    size = 0
    for step in range(1, ROUNDS + 1):
        began = time.monotonic()
        writer.start(msgspec.structs.replace(state, step=step))
        started = time.monotonic() - began
        _forward_and_backward(model, tokens)
        before = time.monotonic()
        writer.hold_still()  # the update would be here
        stalls.append(started + time.monotonic() - before)
        written = writer.wait()
        assert written is not None
        assert written.saved is not None
        writes.append(written.saved.seconds)
        size = written.saved.bytes
        began = time.monotonic()
        verify(written.saved.path)
        checks.append(time.monotonic() - began)
        shutil.rmtree(written.saved.path)
        began = time.monotonic()
        tensors = {"model.safetensors": model.state_dict(), "optimizer.safetensors": optimizer.state_tensors()}
        write_checkpoint(folder, tensors, msgspec.structs.replace(state, step=step), lambda: None)
        plain.append(time.monotonic() - began)
        shutil.rmtree(folder / f"step_{step:06d}")
    writer.close()
    stall, write = statistics.median(stalls), statistics.median(writes)
    return {
        "what": "one checkpoint: medians of a few",
        "bytes": size,
        "stall_seconds": round(stall, 6),
        "write_seconds": round(write, 3),
        "stall_share_of_write": round(stall / write, 6),
        "write_without_a_copy_seconds": round(statistics.median(plain), 3),
        "verify_seconds": round(statistics.median(checks), 3),
        "all_stalls": [round(value, 6) for value in stalls],
    }


def _forward_and_backward(model: GPT, tokens: torch.Tensor) -> None:
    """The work between two updates, with a small micro-batch, so that it hides as little of the write as possible."""
    model.trunk(tokens).float().pow(2).mean().backward()
    if tokens.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
