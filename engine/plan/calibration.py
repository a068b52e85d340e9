"""What earlier runs on a device measured, and how it corrects the predictions for the next: values, no files."""

import math
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from engine.config.schema import (
    BatchConfig,
    Checkpointing,
    CheckpointingMode,
    ModelConfig,
    RunConfig,
    RuntimeConfig,
    TokenizerConfig,
)
from engine.core import formatting
from engine.core.units import GIB
from engine.hardware.gpu_catalog import CATALOGUE, Gpu
from engine.plan import duration, memory
from engine.plan.duration import Correction, Evidence
from engine.plan.memory import Memory
from engine.plan.shape import shape_of

CLOSE = 0.35  # distance below which a measurement is of nearly the same thing: a factor of 1.4 in one size
FAR = 1.5  # distance from which it says nothing of another: a factor of 4.5 in depth
SPEEDS = (0.1, 10.0)  # measured over predicted; beyond, the measurement is of something else
PEAKS = (0.3, 3.0)  # likewise of memory, which is counted rather than estimated
TOO_LITTLE = "less than weights, gradients and optimizer take"
SAME_CARD = 0.03  # by which the memory that a card's drivers leave differs at most


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One run or probe: what it was, what was predicted of it then, and what came of it."""

    device: str  # key_of the device
    torch: str
    depth: int
    vocab_size: int
    max_seq_len: int
    device_batch_size: int
    total_batch_size: int
    activation_checkpointing: CheckpointingMode
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

    def form(self) -> "Form":
        """What `distance` compares."""
        tokens = self.device_batch_size * self.max_seq_len
        return Form(self.depth, tokens, self.vocab_size, self.max_seq_len, self.activation_checkpointing, self.loss)


class Form(NamedTuple):
    """What sets speed and memory of a run."""

    depth: int
    tokens: int  # of a micro-batch
    vocab_size: int
    max_seq_len: int
    activation_checkpointing: Checkpointing
    loss: str


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of one device under one version of torch."""

    measured: tuple[Measured, ...] = ()

    def speed(self, config: RunConfig, gpu: Gpu, compiled: bool) -> Evidence:
        """How much faster than the model says this device is, by the nearest measurement that is believed."""

        def weigh(m: Measured) -> tuple[float, str]:
            rate = m.tokens_per_second or 0.0
            factor = rate / duration.tokens_per_second(m.config(), gpu, m.compiled)
            if not SPEEDS[0] < factor < SPEEDS[1]:
                return factor, f"x {factor:.3g} of the formula"
            used = max(
                duration.flops_share(rate, m.config(), gpu),
                duration.flops_share(factor * duration.tokens_per_second(config, gpu, compiled), config, gpu),
            )
            # what is assumed of a CPU's peak may be wrong; a GPU's is on its data sheet
            return factor, f"an MFU of {formatting.percent(used)}" if used > 1 and gpu.is_cuda else ""

        return self._nearest(config, gpu, compiled, "tokens_per_second", weigh)

    def peak(self, config: RunConfig, gpu: Gpu, compiled: bool) -> Evidence:
        """How much more memory than the formula says is needed, by the nearest measurement that is believed.

        What the formula missed is taken to grow with the size of what is predicted; what it had too much is not.
        """

        def weigh(m: Measured) -> tuple[float, str]:
            counted = _counted(config, gpu, compiled)
            formula = _counted(m.config(), gpu, m.compiled)
            factor = (m.peak_memory or 0) / formula.total
            if not PEAKS[0] < factor < PEAKS[1]:
                return factor, f"x {factor:.3g} of the formula"
            if factor < 1:
                factor = 1 - (1 - factor) / max(1.0, counted.total / formula.total)
            few = (m.peak_memory or 0) < _state(formula) or factor * counted.total < _state(counted)
            return factor, TOO_LITTLE if few else ""

        return self._nearest(config, gpu, compiled, "peak_memory", weigh)

    def _nearest(
        self, config: RunConfig, gpu: Gpu, compiled: bool, what: str, weigh: Callable[[Measured], tuple[float, str]]
    ) -> Evidence:
        """The correction by the nearest measurement that `weigh` believes: it gives a factor, and why not."""
        key, form = key_of(gpu), form_of(config)
        known = [m for m in self.measured if m.device == key and m.compiled == compiled and getattr(m, what)]
        # the newest of equally near ones: the program changes
        ranked = sorted(((_apart(m.form(), form), -m.t, at) for at, m in enumerate(known)))
        notes = []
        for apart, _, at in ranked:
            m = known[at]
            if apart >= FAR:
                notes.append(f"measured here, but too unlike this run to correct it: {_words(m)}")
                break
            factor, fault = weigh(m)
            if not fault:
                close = apart < CLOSE
                where = "measured here" if close else "scaled from a measurement here"
                basis = f"{where} ({_words(m)}), x {factor:.2f} of the formula"
                return Evidence(Correction(factor=factor, close=close, basis=basis))
            notes.append(f"a measurement here is not used, as it comes to {fault}: {_words(m)}")
        return Evidence(note=notes[0] if notes else "")


def _words(m: Measured) -> str:
    return f"{m.source}: depth {m.depth}, {m.device_batch_size} x {m.max_seq_len:,} tokens"


def key_of(gpu: Gpu) -> str:
    """What measurements must share with a device to be about it: its name, with a slice's profile, its memory, and its
    peak. Of a CPU the peak follows from its cores, and its memory does not matter."""
    peak = f" {gpu.peak_flops / 1e12:.3g} TFLOP/s" if gpu.peak_flops > 0 else ""
    return f"{gpu.name} {_nominal(gpu)} GiB{peak}" if gpu.is_cuda else f"{gpu.name}{peak}"


def _nominal(gpu: Gpu) -> int:
    """GiB, the same for all drivers of a card in the catalogue."""
    listed = next((known.capacity for known in CATALOGUE if known.name == gpu.name), gpu.capacity)
    same = abs(gpu.capacity / listed - 1) < SAME_CARD
    return math.ceil((listed if same else gpu.capacity) / GIB)


def form_of(config: RunConfig) -> Form:
    """What `distance` compares."""
    model, batch = config.model, config.batch
    tokens = batch.device_batch_size * model.max_seq_len
    vocab_size, mode = config.tokenizer.vocab_size, batch.activation_checkpointing
    return Form(model.depth, tokens, vocab_size, model.max_seq_len, mode, batch.loss)


def distance(one: RunConfig, other: RunConfig) -> float:
    """How unlike two runs are in what sets speed and memory: logarithms of the ratios of their sizes."""
    return _apart(form_of(one), form_of(other))


def _apart(one: Form, other: Form) -> float:
    sizes = sum(
        weight * abs(math.log(x / y)) for weight, x, y in zip((1.0, 0.5, 0.3, 0.3), one[:4], other[:4], strict=True)
    )
    modes = one.activation_checkpointing != other.activation_checkpointing
    return sizes + 0.3 * modes + 0.3 * (one.loss != other.loss)


def corrected(counted: Memory, evidence: Evidence) -> Memory:
    """The breakdown scaled to the measured sum. The difference goes to the activations while they last."""
    if evidence.correction is None:
        basis = f"{counted.basis}; {evidence.note}" if evidence.note else counted.basis
        return msgspec.structs.replace(counted, basis=basis)
    total = round(counted.total * evidence.correction.factor)
    if total < _state(counted):
        return msgspec.structs.replace(
            counted, basis=f"{counted.basis}; not corrected, as {evidence.correction.basis} leaves {TOO_LITTLE}"
        )
    excess, parts = counted.total - total, {}
    for name in ("activations", "loss", "overhead"):  # of which least is certain first
        size = getattr(counted, name)
        parts[name] = size - min(size, excess)
        excess -= size - parts[name]
    return msgspec.structs.replace(
        counted,
        **parts,
        total=total,
        fits=total <= counted.capacity,
        headroom=1 - total / counted.capacity,
        basis=evidence.correction.basis,
    )


def _counted(config: RunConfig, gpu: Gpu, compiled: bool) -> Memory:
    return memory.estimate(shape_of(config), config.batch, gpu, compiled)


def _state(counted: Memory) -> int:
    """Bytes without which nothing trains."""
    return counted.weights + counted.gradients + counted.optimizer
