"""How long a run takes: throughput, hours, energy and cost, each with the basis it rests on."""

from typing import NamedTuple

import msgspec

from engine.config.schema import RunConfig
from engine.hardware.gpu_catalog import Gpu, by_id
from engine.plan import work
from engine.plan.batch import grad_accum_steps, tokens_per_step
from engine.plan.memory import resolve_checkpointing
from engine.plan.roofline import seconds
from engine.plan.shape import Shape, shape_of

# Compiling the trunk, before the first step: seconds, and seconds for each block, with an empty cache and from a full
# one, whatever the checkpointing mode. A core took 41-102 s for depths 8-20, 27-147 s went by on two shared
# cores, and 17-80 s in published runs; from the cache a core took 17-31 s for depths 12-20 (docs/time.md).
COLD_COMPILE = (10.0, 3.0)
WARM_COMPILE = (4.0, 1.0)

DISK_BYTES_PER_SECOND = 1e9  # writing a checkpoint
UNNAMED = (
    0.03  # of all that is named: waiting for data, events, the host. Wall clock over train time is 5-10 % with all
)
FEW_ROWS = 0.13  # share of a CPU's peak in products of a few rows: bench/results/generate.json, batch 8 against 1

# The range around the estimate, as (faster, slower) shares of it.
HOSTS = (0.10, 0.20)  # hosts with the same card differ by 10 %, and what goes wrong makes a run slower, not faster
OTHER_CARDS = (0.25, 0.50)  # cards for which few figures were published
EAGER = (0.15, 0.60)  # nobody published an uncompiled run; others' programs run at half speed then
MEASURED = (0.05, 0.10)  # this machine has run nearly this
MEASURED_ELSEWHERE = (0.10, 0.20)  # this machine has run something else


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What measurements on the same device say of a prediction."""

    factor: float  # measured over predicted
    close: bool  # whether what was measured is nearly what is predicted
    basis: str


class Evidence(NamedTuple):
    """What measurements on the same device say of a prediction: a correction, or why there is none."""

    correction: Correction | None = None
    note: str = ""  # empty where nothing was measured, or where it corrects


NO_EVIDENCE = Evidence()


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted time. None where the device's speed is not known."""

    low_hours: float | None
    hours: float | None
    high_hours: float | None
    tokens_per_second: float | None  # while training, with the optimizer step
    mfu: float | None  # share of the device's peak, nanochat's FLOPs; None also where a CPU is faster than is assumed
    step_seconds: float | None
    parts: dict[str, float]  # seconds of each, which add up to `hours`
    energy_kwh: float | None
    cost: float | None  # in the currency of runtime.price_per_hour
    basis: str


def estimate(
    config: RunConfig,
    gpu: Gpu,
    *,
    compiled: bool,
    steps: int,
    checkpoint_bytes: int,
    evidence: Evidence = NO_EVIDENCE,
    warm: bool = False,
) -> Duration:
    """Predict a pretraining run of `steps` steps, corrected by what was measured on this device.

    `warm`: whether an earlier stage has compiled the same model.
    """
    correction = evidence.correction
    if gpu.peak_flops <= 0 and correction is None:
        return unknown(f"{unknown_basis(gpu)}; {evidence.note}" if evidence.note else unknown_basis(gpu))
    shape, per_step = shape_of(config), tokens_per_step(config)
    scale = 1 / correction.factor if correction else 1.0
    of_step = step_parts(config, gpu, compiled)
    training, optimizer = scale * of_step["training"], scale * of_step["optimizer"]
    step_seconds = training + optimizer
    evaluations, samples, checkpoints = (
        1 + _times(steps, config.evaluate.every_steps) if config.evaluate.every_steps else 2,
        _times(steps, config.evaluate.sample_every_steps) or 1,
        _times(steps, config.checkpoint.every_steps) or 1,
    )
    parts = {
        "training": steps * training,
        "optimizer": steps * optimizer,
        "evaluation": evaluations
        * config.evaluate.tokens
        * scale
        * evaluation_seconds_per_token(config, gpu, compiled),
        "samples": samples
        * len(config.evaluate.prompts)
        * config.evaluate.sample_tokens
        * scale
        * draw_seconds(shape, gpu),
        "checkpoints": checkpoints * checkpoint_bytes / DISK_BYTES_PER_SECOND,
        "compile": compile_seconds(shape.depth, warm) if compiled else 0.0,
    }
    parts["other"] = UNNAMED * sum(parts.values())
    hours = sum(parts.values()) / 3600
    faster, slower = spread(gpu, compiled, correction)
    rate = per_step / step_seconds
    price = config.runtime.price_per_hour
    return Duration(
        low_hours=hours * (1 - faster),
        hours=hours,
        high_hours=hours * (1 + slower),
        tokens_per_second=rate,
        mfu=_mfu(rate, config, gpu),
        step_seconds=step_seconds,
        parts=parts,
        energy_kwh=gpu.watts * hours / 1000 if gpu.watts else None,
        cost=price * hours if price is not None else None,
        basis=basis_with(evidence, gpu, compiled),
    )


def compile_seconds(depth: int, warm: bool = False) -> float:
    """Seconds that compiling takes before the first step; `warm`: with all of it in the cache."""
    fixed, each = WARM_COMPILE if warm else COLD_COMPILE
    return fixed + each * depth


def flops_share(rate: float, config: RunConfig, gpu: Gpu) -> float:
    """Share of the device's peak that `rate` tokens/s come to, with nanochat's FLOPs per token; 0 without a peak."""
    return rate * shape_of(config).flops_per_token / gpu.peak_flops if gpu.peak_flops > 0 else 0.0


def _mfu(rate: float, config: RunConfig, gpu: Gpu) -> float | None:
    share = flops_share(rate, config, gpu)
    return share if share > 0 and (share <= 1 or gpu.is_cuda) else None


def tokens_per_second(config: RunConfig, gpu: Gpu, compiled: bool) -> float:
    """Steady training speed, from the model alone. On a card without figures: that of an A100, good for ratios only."""
    return tokens_per_step(config) / sum(step_parts(config, gpu, compiled).values())


def step_parts(config: RunConfig, gpu: Gpu, compiled: bool) -> dict[str, float]:
    """Seconds of one optimizer step: its micro-batches forward and backward, and the update."""
    gpu = known(gpu)
    shape, wide = shape_of(config), bytes_of_activation(gpu)
    mode = resolve_checkpointing(shape, config.batch, gpu, compiled)
    traffic = work.traffic_of(compiled, config.batch.loss)
    micro = work.micro_batch(shape, config.batch, mode, traffic, wide)
    return {
        "training": grad_accum_steps(config) * seconds(micro, gpu, compiled=compiled),
        "optimizer": seconds(work.optimizer_step(shape, wide), gpu),
    }


def evaluation_seconds_per_token(config: RunConfig, gpu: Gpu, compiled: bool) -> float:
    """Forward and loss without gradients, in micro-batches as large as in training."""
    gpu = known(gpu)
    shape = shape_of(config)
    traffic = work.traffic_of(compiled, "chunked")  # evaluation never has all logits at once
    forward = work.micro_batch(shape, config.batch, "none", traffic, bytes_of_activation(gpu), training=False)
    return seconds(forward, gpu, compiled=compiled) / (config.batch.device_batch_size * shape.max_seq_len)


def bytes_of_activation(gpu: Gpu) -> int:
    """bfloat16 on CUDA, float32 on a CPU."""
    return 2 if gpu.is_cuda else 4


def draw_seconds(shape: Shape, gpu: Gpu, rows: int = 1, cached: int = 0) -> float:
    """Seconds to draw one token for each of `rows` sequences that hold `cached` tokens.

    Every weight is read once, keys and values of all rows are, and the host starts every operation. Beyond the first
    row a CPU's products of few rows reach FEW_ROWS of its peak.
    """
    params, wide = shape.params, bytes_of_activation(gpu)
    weights = params.matrices + params.lm_head
    token = work.Work(
        matmul=2.0 * (rows - 1) * weights / (1.0 if gpu.is_cuda else FEW_ROWS),
        moved=4.0 * weights + 2.0 * wide * shape.depth * shape.width * rows * cached,
        kernels=shape.depth * work.EAGER.kernels_forward,
    )
    return seconds(token, known(gpu), compiled=False)


def _times(steps: int, every: int) -> int:
    """How often something that is due every `every` steps, and after the last, happens; 0 where it is not due."""
    return -(-steps // every) if every else 0


def spread(gpu: Gpu, compiled: bool, correction: Correction | None) -> tuple[float, float]:
    """The range around the estimate, as (faster, slower) shares of it."""
    if correction is not None:
        return MEASURED if correction.close else MEASURED_ELSEWHERE
    if gpu.is_cuda and not compiled:
        return EAGER
    return HOSTS if gpu.id.startswith(("a100", "a800")) and not gpu.is_slice else OTHER_CARDS


def basis_with(evidence: Evidence, gpu: Gpu, compiled: bool) -> str:
    """What a figure rests on: a measurement, else what the model counts with, and why no measurement is used."""
    if evidence.correction is not None:
        return evidence.correction.basis
    return f"{basis_of(gpu, compiled)}; {evidence.note}" if evidence.note else basis_of(gpu, compiled)


def basis_of(gpu: Gpu, compiled: bool) -> str:
    """What a figure rests on where nothing was measured."""
    if not gpu.is_cuda:
        return "operations counted, at the rates of a CPU like this; unmeasured on this machine"
    eager = "" if compiled else ", uncompiled by count alone"
    if gpu.is_slice:
        return f"operations counted, at A100 rates x the slice's share of its card{eager}; unmeasured on it"
    if gpu.id.startswith(("a100", "a800")):
        return f"operations counted, at the rates of published A100 runs{eager}; unmeasured on this card"
    return f"operations counted, at A100 rates x {gpu.speed:g} of the peak for this card{eager}; unmeasured on it"


def unknown_basis(gpu: Gpu) -> str:
    """Why there is no figure for a device."""
    return f"no figure for {gpu.name}: its peak is not in the catalogue"


def known(gpu: Gpu) -> Gpu:
    """The device, or one with figures in its place: good for ratios, and for what a measurement corrects."""
    return gpu if gpu.peak_flops > 0 else by_id("a100-80gb")


def unknown(basis: str) -> Duration:
    """No prediction; `basis` says why."""
    return Duration(
        low_hours=None,
        hours=None,
        high_hours=None,
        tokens_per_second=None,
        mfu=None,
        step_seconds=None,
        parts={},
        energy_kwh=None,
        cost=None,
        basis=basis,
    )
