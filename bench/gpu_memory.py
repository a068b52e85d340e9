"""Check predictions on a real GPU: the peak memory of each phase against torch's allocator, and the speed.

Every case runs in a process of its own, so that a failure, an out-of-memory or a leak costs that case only. With
--capacity the process may use that much memory and no more, as on a smaller card. Without a GPU: one line, exit 2.
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import torch
from phases import phases_of_a_step

from engine.config.layers import from_dict
from engine.config.schema import Checkpointing, LossKind, RunConfig
from engine.core.units import GIB
from engine.device.allocator import settle_allocator
from engine.hardware.detect import detect_gpu
from engine.hardware.gpu_catalog import Gpu
from engine.model.compiling import compile_for_each_size
from engine.model.gpt import GPT
from engine.model.loss import summed_loss
from engine.optim.optimizer import Optimizer, clip_gradients
from engine.plan import duration, memory
from engine.plan.memory_timeline import full_timeline, phase_peaks
from engine.plan.presets import load_preset, preset_names
from engine.plan.shape import shape_of
from engine.run.environment import torch_environment

LARGEST_ERROR = 0.05
PATIENCE = 900  # seconds per case; compiling the deepest model takes minutes
TIMED_STEPS = 3
CPU_PRESETS = ("quickstart",)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration and its memory limit."""

    depth: int
    seq: int
    rows: int
    mode: Checkpointing
    loss: LossKind = "chunked"
    compiled: bool = True
    capacity_gib: float | None = None

    def config(self) -> RunConfig:
        return from_dict(
            {
                "model": {"depth": self.depth, "max_seq_len": self.seq},
                "batch": {
                    "device_batch_size": self.rows,
                    "total_batch_size": 2 * self.rows * self.seq,
                    "activation_checkpointing": self.mode,
                    "loss": self.loss,
                },
                "runtime": {"compile": "on" if self.compiled else "off"},
            }
        )


def cases() -> list[Case]:
    """From small models to d20, eager and compiled; then with the capacity of a 40 GB GPU."""
    found = [
        Case(depth=depth, seq=seq, rows=rows, mode=mode, compiled=compiled)
        for depth, seq, rows in ((8, 1024, 8), (12, 1024, 4), (12, 2048, 16), (20, 2048, 8))
        for mode in memory.CHECKPOINTING_MODES
        for compiled in (False, True)
    ]
    found += [
        Case(depth=12, seq=1024, rows=8, mode="none", loss="full", compiled=compiled) for compiled in (False, True)
    ]
    return found + [Case(depth=20, seq=2048, rows=rows, mode="auto", capacity_gib=39.39) for rows in (8, 16, 32)]


def preset_cases() -> list[Case]:
    """The shapes of the presets for GPUs, smallest first."""
    found = []
    for name in preset_names():
        config = from_dict(load_preset(name))
        shape = Case(
            depth=config.model.depth,
            seq=config.model.max_seq_len,
            rows=config.batch.device_batch_size,
            mode=config.batch.activation_checkpointing,
        )
        if name not in CPU_PRESETS and shape not in found:
            found.append(shape)
    return sorted(found, key=lambda case: (case.depth, case.rows))


def measure(case: Case) -> dict[str, Any]:
    """Run one case in this process."""
    gpu = detect_gpu()
    assert gpu is not None
    settle_allocator("cuda", lambda message: print(f"warning: {message}", file=sys.stderr))
    if case.capacity_gib is not None:
        gpu = msgspec.structs.replace(gpu, capacity=int(case.capacity_gib * GIB))
        torch.cuda.set_per_process_memory_fraction((gpu.capacity - memory.CUDA_CONTEXT) / torch.cuda.mem_get_info()[1])
    config = case.config()
    shape = shape_of(config)
    mode = memory.resolve_checkpointing(shape, config.batch, gpu, case.compiled)
    planned = memory.estimate(shape, config.batch, gpu, case.compiled)
    predicted = phase_peaks(full_timeline(shape, config.batch, mode, cuda=True, compiled=case.compiled))
    torch.set_float32_matmul_precision("high")
    model = GPT(shape, mode, "cuda")
    model.init_weights(0)
    optimizer = Optimizer(model, config.optim, shape.width)
    trunk = compile_for_each_size(model.trunk) if case.compiled else model.trunk
    phases_of_a_step(model, trunk, optimizer, config.batch)  # compiles, and loads kernels
    torch.cuda.empty_cache()
    phases = phases_of_a_step(model, trunk, optimizer, config.batch)
    peak = max(phases.values())
    free, total = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    seconds = _step_seconds(model, trunk, optimizer, config)
    return {
        **msgspec.to_builtins(case),
        "used_mode": mode,
        "fits": planned.fits,
        "error": max(predicted[phase] for phase in phases) / peak - 1,
        "peak": peak,
        "phases": {phase: {"predicted": predicted[phase], "found": found} for phase, found in phases.items()},
        "slack": reserved / peak - 1,
        "context": total - free - reserved,
        "tokens_per_second": config.batch.total_batch_size / seconds,
        "predicted_tokens_per_second": duration.tokens_per_second(config, gpu, case.compiled),
    }


def _step_seconds(model: GPT, trunk: Any, optimizer: Optimizer, config: RunConfig) -> float:
    """Seconds of one optimizer step of two micro-batches, the fastest of a few."""
    size = (config.batch.device_batch_size, config.model.max_seq_len)
    tokens = torch.randint(model.shape.vocab_size, size, device="cuda")
    best = float("inf")
    for _ in range(TIMED_STEPS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(2):
            hidden = trunk(tokens).flatten(0, 1)
            nats = summed_loss(
                hidden,
                model.head.weight,
                tokens.flatten(),
                config.batch.loss,
                config.batch.loss_chunk_tokens,
                trunk != model.trunk,
            )
            del hidden
            (nats / config.batch.total_batch_size).backward()
        clip_gradients(model, 1.0)
        optimizer.step(1e-6, 0.9)
        optimizer.zero_grad()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def run_apart(case: Case) -> dict[str, Any]:
    """Measure one case in a separate process; a failure becomes an `error_message`."""
    command = [sys.executable, __file__, "--case", msgspec.json.encode(case).decode()]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=torch_environment()
        )
        if done.returncode == 0:
            return dict(json.loads(done.stdout.splitlines()[-1]))
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"not done after {PATIENCE} s"
    return {**msgspec.to_builtins(case), "error_message": reason}


def room_for(case: Case, gpu: Gpu) -> bool:
    """Whether the case is predicted to fit; otherwise its peak cannot be tested."""
    capacity = gpu.capacity if case.capacity_gib is None else min(gpu.capacity, int(case.capacity_gib * GIB))
    config = case.config()
    device = msgspec.structs.replace(gpu, capacity=capacity)
    return memory.estimate(shape_of(config), config.batch, device, case.compiled).fits


def main(arguments: list[str]) -> int:
    """All cases, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--presets", action="store_true", help="only the shapes of the presets")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further case after this long")
    parser.add_argument("--output", metavar="FILE", type=Path, default=Path("bench/results/gpu-memory.json"))
    options = parser.parse_args(arguments)
    gpu = detect_gpu() if torch.cuda.is_available() else None
    if gpu is None:
        print("error: no CUDA GPU is here; run this on a machine with one.", file=sys.stderr)
        return 2
    if options.case:
        print(json.dumps(measure(msgspec.json.decode(options.case, type=Case))))
        return 0
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    planned = [case for case in (preset_cases() if options.presets else cases()) if room_for(case, gpu)]
    for case in planned:
        if time.monotonic() - began > options.seconds:
            print(f"the {options.seconds:g} s are over; {len(planned) - len(rows)} cases are left out", flush=True)
            break
        rows.append(run_apart(case))
        print(_line(rows[-1]), flush=True)
        _write(options.output, rows, gpu, arguments)  # after each case, so that no measurement is lost
    measured = [row for row in rows if "error" in row]
    largest = max((abs(row["error"]) for row in measured), default=float("nan"))
    print(f"{len(measured)} of {len(rows)} cases measured, largest error {largest:.1%}")
    return 0 if rows and len(measured) == len(rows) and largest <= LARGEST_ERROR else 1


def _line(row: dict[str, Any]) -> str:
    name = f"depth {row['depth']}, {row['rows']} x {row['seq']}, {row['mode']}, {row['loss']}"
    name += ", compiled" if row["compiled"] else ", eager"
    name += f", in {row['capacity_gib']} GiB" if row["capacity_gib"] else ""
    if "error" not in row:
        return f"{name}: FAILED, {row['error_message']}"
    speed = f"{row['tokens_per_second']:,.0f} tokens/s, predicted {row['predicted_tokens_per_second']:,.0f}"
    return f"{name}: {row['peak'] / GIB:.2f} GiB, formula {row['error']:+.2%}, {speed}"


def _write(path: Path, rows: list[dict[str, Any]], gpu: Gpu, arguments: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {
        "command": "python bench/gpu_memory.py " + " ".join(arguments),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "gpu": gpu.name,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "cases": rows,
    }
    path.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
