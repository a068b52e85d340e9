"""A throw-away process that trains a few steps on random tokens and says how fast it was and what memory it took.

`python -m engine.autotune.trial_worker`: one JSON object on standard input (the request), one on standard output (the
result).
"""

import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator

import msgspec
import torch

from engine.autotune.fitting import Finding, Request
from engine.config.layers import with_changes
from engine.config.schema import RunConfig
from engine.core.errors import EXIT_OUT_OF_MEMORY
from engine.data.loader import Batch, LoaderState
from engine.device.allocator import settle_allocator
from engine.device.device import is_out_of_memory, peak_memory, prepare_device, release_memory
from engine.hardware.detect import detect, detect_cpu
from engine.model.compiling import compile_for_each_size
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.batch import grad_accum_steps, tokens_per_micro_batch
from engine.plan.memory import resolve_checkpointing
from engine.plan.plan import uses_compile
from engine.plan.shape import shape_of
from engine.train.step import OutOfMemory, StepRunner

MICRO_BATCHES = 2  # in a step of the probe: the second finds the gradients of the first, as all later ones do
UNTIMED_STEPS = 1  # the first compiles, allocates and loads kernels


class TimedOptimizer(Optimizer):
    """Records the duration of its last step, so that a short step can represent a long one."""

    seconds = 0.0

    def step(self, learning_rate_scale: float, muon_momentum: float) -> None:
        _wait()
        began = time.perf_counter()
        super().step(learning_rate_scale, muon_momentum)
        _wait()
        self.seconds = time.perf_counter() - began


def probe(request: Request) -> Finding:
    """Train as asked. An out-of-memory is a finding, not an error."""
    asked = request.config
    config = _shortened(asked)
    device = prepare_device(config)
    settle_allocator(device, lambda message: print(f"warning: {message}", file=sys.stderr))
    _limit_memory(device, request.limit)
    try:
        return _measure(asked, config, device, request.steps)
    except Exception as error:
        if not (isinstance(error, OutOfMemory) or is_out_of_memory(error, device)):
            raise
    return Finding(outcome="out_of_memory", device=device, torch=str(torch.__version__), compiled=False)


def _measure(asked: RunConfig, config: RunConfig, device: str, steps: int) -> Finding:
    gpu = detect() if device == "cuda" else detect_cpu()
    shape, compiled = shape_of(config), uses_compile(config, gpu)
    model = GPT(shape, resolve_checkpointing(shape, asked.batch, gpu, compiled), device)
    model.init_weights(config.runtime.seed)
    optimizer = TimedOptimizer(model, config.optim, shape.width)
    trunk = compile_for_each_size(model.trunk) if compiled else model.trunk
    runner = StepRunner(model, trunk, optimizer, config, "fit", lambda _event: None, 1)
    batches = _random_batches(config, device)
    micro_seconds, optimizer_seconds = [], []
    for step in range(1, UNTIMED_STEPS + steps + 1):
        began = time.perf_counter()
        runner.run(batches, step, 1.0, config.optim.muon_momentum_start, lambda _step, _loss: True)
        _wait()
        if step > UNTIMED_STEPS:
            optimizer_seconds.append(optimizer.seconds)
            micro_seconds.append((time.perf_counter() - began - optimizer.seconds) / grad_accum_steps(config))
    accumulation = grad_accum_steps(asked)
    whole = accumulation * statistics.median(micro_seconds) + statistics.median(optimizer_seconds)
    return Finding(
        outcome="done",
        device=device,
        torch=str(torch.__version__),
        compiled=compiled,
        tokens_per_second=accumulation * tokens_per_micro_batch(asked) / whole,
        step_seconds=whole,
        peak_memory=peak_memory(device),
    )


def _shortened(config: RunConfig) -> RunConfig:
    """With as few micro-batches in a step as show its peak."""
    count = min(MICRO_BATCHES, grad_accum_steps(config))
    return with_changes(
        config, {"batch.total_batch_size": count * tokens_per_micro_batch(config), "runtime.on_oom": "stop"}
    )


def _limit_memory(device: str, limit: int | None) -> None:
    """Let allocations beyond `limit` bytes fail: of the GPU's memory, or of this process' data."""
    if limit is None:
        return
    if device == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / torch.cuda.mem_get_info()[1]))
        return
    torch.ones(64, 64) @ torch.ones(64, 64)  # the threads and their stacks exist before the limit does
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _random_batches(config: RunConfig, device: str) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(config.runtime.seed)
    rows, length = config.batch.device_batch_size, config.model.max_seq_len
    while True:
        ids = torch.randint(config.tokenizer.vocab_size, (rows, length + 1), generator=generator).to(device)
        yield Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), LoaderState(), 0, rows * length)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> int:
    """Answer one request. The exit code is that of an out-of-memory where there was one."""
    finding = probe(msgspec.json.decode(sys.stdin.buffer.read(), type=Request))
    sys.stdout.buffer.write(msgspec.json.encode(finding) + b"\n")
    sys.stdout.flush()
    release_memory(finding.device)
    return EXIT_OUT_OF_MEMORY if finding.outcome == "out_of_memory" else 0


if __name__ == "__main__":
    os._exit(main())  # what a failed allocation left behind must not change how this ends
