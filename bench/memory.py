"""Check the memory formula against traces of the real model; with --compiled, against real compiled runs on a CPU.

Prints a table and, with --output, writes bench/results/memory.json: the machine, versions, date, command, and for every
configuration the predicted and the traced bytes of each phase. Fails when the eager error exceeds LARGEST_ERROR.
Compiled runs take half a minute each; their kernels are Inductor's for the CPU, their buffers those it plans for CUDA.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from engine.config.schema import BatchConfig, CheckpointingMode, LossKind, heads_of, width_of
from engine.core.units import GIB
from engine.model.compiling import compile_for_each_size
from engine.model.gpt import GPT
from engine.model.loss import summed_loss
from engine.model.memory_trace import trace_training
from engine.plan.memory import CHECKPOINTING_MODES
from engine.plan.memory_timeline import full_timeline, phase_peaks
from engine.plan.shape import Shape
from engine.run.environment import prepare_this_process

LARGEST_ERROR = 0.03
LOSSES: tuple[LossKind, ...] = ("chunked", "full")


class Case(NamedTuple):
    """One configuration."""

    depth: int
    seq: int
    rows: int
    vocab: int
    mode: CheckpointingMode
    loss: LossKind = "chunked"
    chunk: int = 1024
    accumulation: int = 2
    cuda: bool = True

    @property
    def shape(self) -> Shape:
        return Shape(
            depth=self.depth,
            width=width_of(self.depth),
            heads=heads_of(self.depth),
            vocab_size=self.vocab,
            max_seq_len=self.seq,
        )

    @property
    def batch(self) -> BatchConfig:
        return BatchConfig(
            device_batch_size=self.rows,
            total_batch_size=self.accumulation * self.rows * self.seq,
            loss=self.loss,
            loss_chunk_tokens=self.chunk,
        )


# depth, tokens of a sequence, sequences, vocabulary
SIZES = (
    (4, 512, 1, 4096),
    (4, 4096, 32, 65536),
    (6, 1024, 2, 50304),
    (8, 512, 32, 4096),
    (8, 2048, 4, 65536),
    (12, 512, 1, 8192),
    (12, 1024, 4, 65536),
    (12, 4096, 8, 32768),
    (14, 1536, 4, 65536),
    (16, 2048, 8, 65536),
    (20, 2048, 8, 65536),
    (24, 1024, 32, 16384),
    (32, 512, 1, 65536),
    (32, 4096, 2, 32768),
)


def grid() -> list[Case]:
    """Every size in every mode with both losses, then other variations."""
    cases = [Case(*size, mode, loss) for size, mode, loss in itertools.product(SIZES, CHECKPOINTING_MODES, LOSSES)]
    for mode in CHECKPOINTING_MODES:
        cases += [
            Case(8, 1024, 4, 32768, mode, accumulation=1),
            Case(12, 256, 1, 8192, mode, accumulation=1),
            Case(8, 1024, 8, 32768, mode, chunk=64),
            Case(4, 512, 8, 8192, mode, "full", cuda=False),
            Case(8, 1024, 4, 32768, mode, cuda=False),
        ]
    return cases


def small_grid() -> list[Case]:
    """A few cases, for the test suite."""
    sizes = ((2, 2048, 8, 65536), (4, 512, 1, 4096))
    return [Case(*size, mode, loss) for size, mode, loss in itertools.product(sizes, CHECKPOINTING_MODES, LOSSES)]


def compare(case: Case) -> dict[str, Any]:
    """Predicted and traced bytes of each phase and of the peak, with the relative error of the peak."""
    traced = trace_training(case.shape, case.batch, case.mode, case.cuda)
    predicted = phase_peaks(full_timeline(case.shape, case.batch, case.mode, case.cuda, compiled=False))
    return _result(case, predicted, traced.peaks, traced.seconds)


def compiled_cases() -> list[Case]:
    """Models small enough for a CPU, with few (1 x d) to many (16 x d) tokens for the width."""
    sizes = ((4, 128, 2, 512), (4, 512, 8, 2048), (6, 256, 4, 1024), (8, 128, 4, 4096))
    return [Case(*size, mode, chunk=64) for size, mode in itertools.product(sizes, CHECKPOINTING_MODES)]


def compare_compiled(case: Case) -> dict[str, Any]:
    """Predicted bytes of a compiled micro-batch, and those that Inductor's program really allocates on a CPU in bf16.

    From the second micro-batch on: gradients exist, so what is allocated is what training adds to the base.
    """
    began = time.perf_counter()
    torch._dynamo.reset()
    model = GPT(case.shape, case.mode, compute_dtype=torch.bfloat16)
    model.init_weights(0)
    trunk = compile_for_each_size(model.trunk)
    tokens = torch.randint(case.vocab, (case.rows, case.seq))

    def micro_batch() -> None:
        hidden = trunk(tokens).flatten(0, 1)
        nats = summed_loss(hidden, model.head.weight, tokens.flatten(), case.loss, case.chunk, compiled=True)
        del hidden
        (nats / tokens.numel()).backward()

    for _ in range(2):
        micro_batch()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        micro_batch()
    current = peak = 0
    events = (event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]")
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    timeline = list(full_timeline(case.shape, case.batch, case.mode, cuda=True, compiled=True))
    before = next(point for point in timeline if point.phase == "checkpoint").total
    before += timeline[0].gradients + 16 * tokens.numel() * case.accumulation  # and the token ids of the step
    predicted = max(point.total for point in timeline if point.phase in ("forward", "loss", "backward"))
    seconds = time.perf_counter() - began
    return _result(case, {"micro-batch": predicted}, {"micro-batch": before + peak}, seconds)


def _result(case: Case, predicted: dict[str, int], found: dict[str, int], seconds: float) -> dict[str, Any]:
    peak = max(found.values())
    return {
        **case._asdict(),
        "peak": peak,
        "error": round(max(predicted[phase] for phase in found) / peak - 1, 5),
        "phases": {phase: {"predicted": predicted[phase], "found": size} for phase, size in found.items()},
        "seconds": round(seconds, 2),
    }


def main(arguments: list[str]) -> int:
    """Run the grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiled", action="store_true", help="also compile small models and run them")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the results as JSON")
    options = parser.parse_args(arguments)
    prepare_this_process()
    torch.set_num_threads(1)
    began = time.perf_counter()
    eager = [_shown(compare(case)) for case in grid()]
    compiled = [_shown(compare_compiled(case)) for case in compiled_cases()] if options.compiled else []
    largest = max(abs(row["error"]) for row in eager)
    print(f"{len(eager)} eager configurations: largest error {largest:.3%}")
    if compiled:
        errors = [row["error"] for row in compiled]
        print(f"{len(compiled)} compiled configurations: error {min(errors):+.1%} to {max(errors):+.1%}")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        header = {
            "command": "python bench/memory.py " + " ".join(arguments),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "seconds": round(time.perf_counter() - began, 1),
            "largest_error_eager": largest,
        }
        rows = ",\n".join(json.dumps(row) for row in eager)
        rows_compiled = ",\n".join(json.dumps(row) for row in compiled)
        text = json.dumps(header, indent=1).rstrip("\n}")
        options.output.write_text(f'{text},\n "eager": [\n{rows}\n],\n "compiled": [\n{rows_compiled}\n]\n}}\n')
    return 0 if largest <= LARGEST_ERROR else 1


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    name = f"depth {row['depth']:>2}, {row['rows']:>2} x {row['seq']:>4}, vocabulary {row['vocab']:>5}"
    other = f"{row['mode']:<9} {row['loss']:<7} chunk {row['chunk']:>4} accumulation {row['accumulation']}"
    device = "bfloat16" if row["cuda"] else "float32"
    print(
        f"{name} {other} {device:<8} {row['peak'] / GIB:8.2f} GiB {row['error']:+.3%} {row['seconds']:5.1f} s",
        flush=True,
    )
    return row


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
