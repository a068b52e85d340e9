"""Finding the batch that fits by trying: throw-away subprocesses that train a few steps until memory runs out."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from engine.config.layers import with_changes
from engine.config.schema import CheckpointingMode, RunConfig, depth_is_valid
from engine.core.atomic_io import NOT_JSON
from engine.core.errors import EXIT_OUT_OF_MEMORY, NanosoloError
from engine.core.memory_errors import exhausted_memory
from engine.hardware.detect import memory_available
from engine.hardware.gpu_catalog import Gpu
from engine.plan import budget_search, memory
from engine.plan.budget_search import Fit
from engine.plan.calibration import Measured, key_of
from engine.plan.plan import uses_compile
from engine.plan.shape import shape_of
from engine.run.crash_report import abort_message, last_words
from engine.run.environment import torch_environment

FREE_SHARE = 0.85  # of the host's free memory that a probe on the CPU may take when no limit is given
PROBE_PATIENCE = 600.0  # seconds; a first compilation takes up to two minutes
LADDER_STEPS = 10
MEASURED_HEADROOM = 0.04  # share of the memory that a measured peak should leave; a predicted one needs more
TAIL = 32768  # characters of what a failed probe wrote last


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe is asked."""

    config: RunConfig
    steps: int  # measured ones
    limit: int | None = None  # bytes it may use; None: all there is


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe found."""

    outcome: Literal["done", "out_of_memory", "too_slow"]
    device: str = ""
    torch: str = ""
    compiled: bool = False
    tokens_per_second: float | None = None  # of a whole step with all its accumulation
    step_seconds: float | None = None
    peak_memory: int | None = None  # bytes: allocated by torch on CUDA, resident on a CPU


class Trial(NamedTuple):
    """One configuration that was tried."""

    config: RunConfig
    mode: CheckpointingMode
    finding: Finding
    peak: int | None  # bytes as predictions count them, with overhead
    predicted: Fit

    @property
    def size(self) -> int:
        return self.config.batch.device_batch_size


def run_probe(config: RunConfig, steps: int, limit: int | None = None, patience: float = PROBE_PATIENCE) -> Finding:
    """Train `steps` measured steps in a process of its own. Raises NanosoloError when it fails for another reason than
    memory."""
    request = msgspec.json.encode(Request(config=config, steps=steps, limit=limit))
    command = (sys.executable, "-m", "engine.autotune.trial_worker")
    environment = torch_environment(deterministic=config.runtime.deterministic)
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, timeout=patience, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return Finding(outcome="too_slow")
    if done.returncode in (0, EXIT_OUT_OF_MEMORY):
        try:
            return msgspec.json.decode(done.stdout.splitlines()[-1], type=Finding)
        except (IndexError, *NOT_JSON):
            pass
    words = done.stderr.decode(errors="replace")[-TAIL:]
    if _died_of_memory(done.returncode, words, limit):
        return Finding(outcome="out_of_memory")
    reason = last_words(words).line or f"exit code {done.returncode}"
    raise NanosoloError(f"the probe of {_name(config)} failed: {reason}")


def climb(
    config: RunConfig,
    gpu: Gpu,
    mode: CheckpointingMode,
    steps: int,
    limit: int | None = None,
    patience: float = PROBE_PATIENCE,
) -> Iterator[Trial]:
    """From a quarter of the batch that is predicted to fit, double it until memory runs out or the step is whole."""
    sizes = list(budget_search.batch_sizes(config))
    expected = [size for size in sizes if budget_search.predict_fit(config, gpu, mode, size).safe]
    start = max(1, (expected[-1] if expected else sizes[0]) // 4)
    tries = (with_changes(config, {"batch.device_batch_size": size}) for size in sizes if size >= start)
    return until_it_fails(tries, gpu, mode, steps, limit, patience)


def until_it_fails(
    tries: Iterable[RunConfig],
    gpu: Gpu,
    mode: CheckpointingMode,
    steps: int,
    limit: int | None = None,
    patience: float = PROBE_PATIENCE,
) -> Iterator[Trial]:
    """Probe one after the other in this mode, to the first that does not come through."""
    for config in tries:
        trial = try_out(
            with_changes(config, {"batch.activation_checkpointing": mode}), gpu, mode, steps, limit, patience
        )
        yield trial
        if trial.finding.outcome != "done":
            return


def ladder(config: RunConfig) -> list[RunConfig]:
    """The strategy's way up: depth 8, 2 sequences of 512 tokens; half way to the model that is wanted; that model at 2
    sequences; then twice the batch again and again."""
    depth, length = config.model.depth, config.model.max_seq_len
    between = next(d for d in range((8 + depth + 1) // 2, depth + 8) if depth_is_valid(d))
    bottom = [(min(8, depth), min(512, length)), (between, max(512, length // 2)), (depth, length)]
    rungs = [_rung(config, d, 2, t) for d, t in dict.fromkeys(bottom) if d <= max(8, depth) and t <= length]
    rungs += [_rung(config, depth, size, length) for size in budget_search.batch_sizes(config) if size > 2]
    return rungs


def try_out(
    config: RunConfig,
    gpu: Gpu,
    mode: CheckpointingMode,
    steps: int,
    limit: int | None = None,
    patience: float = PROBE_PATIENCE,
) -> Trial:
    """Probe one configuration, and add what was predicted for it."""
    finding = run_probe(config, steps, memory_limit_for(gpu, limit), patience)
    peak = finding.peak_memory
    if peak is not None and gpu.is_cuda:
        counted = memory.estimate(shape_of(config), config.batch, gpu, uses_compile(config, gpu))
        peak += counted.overhead
    return Trial(
        config, mode, finding, peak, budget_search.predict_fit(config, gpu, mode, config.batch.device_batch_size)
    )


def memory_limit_for(gpu: Gpu, limit: int | None) -> int | None:
    """A probe on the CPU must never take the whole machine down with it."""
    if limit is not None or gpu.is_cuda:
        return limit
    return int(FREE_SHARE * memory_available())


def best_of(trials: list[Trial], capacity: int) -> Trial | None:
    """The sweet spot of what was measured."""
    measured = {
        (trial.mode, trial.size): msgspec.structs.replace(
            trial.predicted,
            peak=trial.peak,
            headroom=1 - trial.peak / capacity,
            fits=True,
            tokens_per_second=trial.finding.tokens_per_second,
        )
        for trial in trials
        if trial.peak is not None and trial.finding.tokens_per_second is not None
    }
    best = budget_search.sweet_spot(list(measured.values()), MEASURED_HEADROOM)
    return next(
        (trial for trial in trials if best is not None and measured.get((trial.mode, trial.size)) == best), None
    )


def measurement(trial: Trial, gpu: Gpu) -> Measured:
    """A trial as later plans use it."""
    config, finding = trial.config, trial.finding
    return Measured(
        device=key_of(gpu),
        torch=finding.torch.partition("+")[0],
        depth=config.model.depth,
        vocab_size=config.tokenizer.vocab_size,
        max_seq_len=config.model.max_seq_len,
        device_batch_size=config.batch.device_batch_size,
        total_batch_size=config.batch.total_batch_size,
        activation_checkpointing=trial.mode,
        loss=config.batch.loss,
        loss_chunk_tokens=config.batch.loss_chunk_tokens,
        compiled=finding.compiled,
        tokens_per_second=finding.tokens_per_second,
        peak_memory=trial.peak,
        predicted={"tokens_per_second": trial.predicted.tokens_per_second, "peak_memory": trial.predicted.peak},
        source=f"fit {_name(config)} {trial.mode}",
        t=time.time(),
    )


def _rung(config: RunConfig, depth: int, size: int, length: int) -> RunConfig:
    micro = size * length
    total = max(micro, config.batch.total_batch_size // micro * micro)
    changes = {
        "model.depth": depth,
        "model.max_seq_len": length,
        "batch.device_batch_size": size,
        "batch.total_batch_size": total,
    }
    return with_changes(config, changes)


def _name(config: RunConfig) -> str:
    return f"depth {config.model.depth}, {config.batch.device_batch_size} x {config.model.max_seq_len}"


def _died_of_memory(code: int, words: str, limit: int | None) -> bool:
    """Whether a probe that could not say so ran out of memory: killed for it, or below its limit."""
    if code == -signal.SIGKILL:
        return True
    memory = exhausted_memory(last_words(words).text + abort_message(words))
    clues = ("memory", "Resource temporarily unavailable")  # what fails below a limit fails in many words
    return memory == "gpu" or (limit is not None and (memory == "host" or any(clue in words for clue in clues)))
