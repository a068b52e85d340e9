"""What earlier runs on a device measured, and how it corrects the predictions for the next: values, no files."""

import math
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from engine.plan import duration, memory
from engine.plan.config import BatchConfig, ModelConfig, RunConfig, RuntimeConfig, TokenizerConfig
from engine.plan.duration import Correction
from engine.plan.gpus import Gpu
from engine.plan.memory import Memory
from engine.plan.shape import shape_of

CLOSE = 0.35  # distance below which a measurement is of nearly the same thing: a factor of 1.4 in one size
_Factor = Callable[["Measured", Gpu], float]
SENSIBLE = (0.1, 10.0)  # measured over predicted; beyond, the measurement is of something else


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One run or probe: what it was, what was predicted of it then, and what came of it."""

    device: str  # key_of the device
    torch: str
    depth: int
    vocab_size: int
    max_seq_len: int
    device_batch_size: int
    total_batch_size: int
    activation_checkpointing: memory.CheckpointingMode
    loss: str
    loss_chunk_tokens: int
    compiled: bool
    tokens_per_second: float | None  # median of the warm steps
    peak_memory: int | None  # bytes, counted as Memory.total
    phase_peaks: dict[str, int] = {}  # stage -> bytes, as its process measured them
    stage_seconds: dict[str, float] = {}
    predicted: dict[str, float | None] = {}  # tokens_per_second, peak_memory, hours of the plan of that time
    source: str = ""  # the run's name, or `fit`
    t: float = 0.0  # Unix time

    def config(self) -> RunConfig:
        """As much of its configuration as predictions depend on."""
        return RunConfig(
            model=ModelConfig(depth=self.depth, max_seq_len=self.max_seq_len),
            batch=BatchConfig(
                device_batch_size=self.device_batch_size,
                total_batch_size=self.total_batch_size,
                activation_checkpointing=self.activation_checkpointing,
                loss="full" if self.loss == "full" else "chunked",
                loss_chunk_tokens=self.loss_chunk_tokens,
            ),
            tokenizer=TokenizerConfig(vocab_size=self.vocab_size),
            runtime=RuntimeConfig(compile="on" if self.compiled else "off"),
        )


class _Found(NamedTuple):
    measured: Measured
    correction: Correction


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of one device under one version of torch."""

    measured: tuple[Measured, ...] = ()

    def speed(self, config: RunConfig, gpu: Gpu, compiled: bool) -> Correction | None:
        """How much faster than the model says this device is, by the nearest measurement; None without one."""
        found = self._correction(config, gpu, compiled, "tokens_per_second", _speed_factor)
        return found.correction if found else None

    def peak(self, config: RunConfig, gpu: Gpu, compiled: bool) -> Correction | None:
        """How much more memory than the formula says is needed, by the nearest measurement; None without one.

        What the formula missed is taken to grow with the size of what is predicted; what it had too much is not.
        """
        found = self._correction(config, gpu, compiled, "peak_memory", _peak_factor)
        if found is None or found.correction.factor >= 1:
            return found.correction if found else None
        size = _counted(config, gpu, compiled) / _counted(found.measured.config(), gpu, compiled)
        factor = 1 - (1 - found.correction.factor) / max(1.0, size)
        return msgspec.structs.replace(found.correction, factor=factor)

    def _correction(self, config: RunConfig, gpu: Gpu, compiled: bool, what: str, factor_of: _Factor) -> _Found | None:
        known = [m for m in self.measured if m.device == key_of(gpu) and m.compiled == compiled and getattr(m, what)]
        # the newest of equally near ones: the program changes
        for m in sorted(known, key=lambda m: (distance(m.config(), config), -m.t)):
            factor = factor_of(m, gpu)
            if SENSIBLE[0] < factor < SENSIBLE[1]:
                close = distance(m.config(), config) < CLOSE
                basis = (
                    f"{'measured here' if close else 'scaled from a measurement here'} ({m.source}: depth {m.depth}, "
                    f"{m.device_batch_size} x {m.max_seq_len:,} tokens), x {factor:.2f} of the formula"
                )
                return _Found(m, Correction(factor=factor, close=close, basis=basis))
        return None


def key_of(gpu: Gpu) -> str:
    """What measurements must share with a device to be about it: its name and, for slices and CPUs, its size."""
    return f"{gpu.name} {gpu.peak_flops / 1e12:.3g} TFLOP/s" if gpu.peak_flops > 0 else gpu.name


def distance(one: RunConfig, other: RunConfig) -> float:
    """How unlike two runs are in what sets speed and memory: logarithms of the ratios of their sizes."""
    a, b = (
        (
            config.model.depth,
            config.batch.device_batch_size * config.model.max_seq_len,
            config.tokenizer.vocab_size,
            config.model.max_seq_len,
        )
        for config in (one, other)
    )
    sizes = sum(weight * abs(math.log(x / y)) for weight, x, y in zip((1.0, 0.5, 0.3, 0.3), a, b, strict=True))
    modes = one.batch.activation_checkpointing != other.batch.activation_checkpointing
    return sizes + 0.3 * modes + 0.3 * (one.batch.loss != other.batch.loss)


def corrected(counted: Memory, correction: Correction | None) -> Memory:
    """The breakdown with its sum as measured. Activations, of which least is certain, take up the difference."""
    if correction is None:
        return counted
    total = round(counted.total * correction.factor)
    activations = counted.activations + total - counted.total
    return msgspec.structs.replace(
        counted,
        total=total,
        activations=max(0, activations),
        overhead=counted.overhead + min(0, activations),
        fits=total <= counted.capacity,
        headroom=1 - total / counted.capacity,
        basis=correction.basis,
    )


def _speed_factor(m: Measured, gpu: Gpu) -> float:
    return (m.tokens_per_second or 0.0) / duration.tokens_per_second(m.config(), gpu, m.compiled)


def _peak_factor(m: Measured, gpu: Gpu) -> float:
    return (m.peak_memory or 0) / _counted(m.config(), gpu, m.compiled)


def _counted(config: RunConfig, gpu: Gpu, compiled: bool) -> int:
    return memory.estimate(shape_of(config), config.batch, gpu, compiled).total
