"""How long a run takes: throughput, hours, energy and cost, each with the basis it rests on."""

from bisect import bisect_left

import msgspec

from engine.plan.config import RunConfig
from engine.plan.gpus import Gpu
from engine.plan.shape import Shape

# Model FLOPs utilisation (nanochat's FLOPs, of 312e12) of a warm, compiled A100-SXM4-80GB with large micro-batches, by
# width. Mids of what was published for depths 12 to 24 (docs/time.md); the ends are extrapolated.
UTILISATION_BY_WIDTH = ((128, 0.10), (256, 0.25), (512, 0.44), (768, 0.58), (1024, 0.60), (1280, 0.66), (1536, 0.68))
# Tokens of a micro-batch at which a width-768 model reaches half of that: 12k tokens give 0.86 of what 48k give.
HALF_TOKENS_AT_768 = 2_800
EAGER = 0.5  # throughput without torch.compile, relative
BLOCK_CHECKPOINTING = 0.78  # throughput when every block is computed twice: 20-25 % less
FORWARD_SHARE = 1 / 3  # of a training token's FLOPs, for a token that is only evaluated
CPU_UTILISATION = 0.45  # of the float32 matmul peak, measured on two AVX2 cores at depth 4
COMPILE_SECONDS = 60.0  # first step: 17-80 s
DISK_BYTES_PER_SECOND = 1e9  # writing a checkpoint
HOST_SPREAD = 0.10  # hosts with the same card differ by this much
WALL_OVER_TRAIN = 0.08  # the wall clock's excess that no term names: 5-10 %


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted time. None where the device's speed is not known."""

    low_hours: float | None
    hours: float | None
    high_hours: float | None
    tokens_per_second: float | None
    mfu: float | None  # share of the device's peak, nanochat's FLOPs
    step_seconds: float | None
    parts: dict[str, float]  # seconds: training, evaluation, checkpoints, compile
    energy_kwh: float | None
    cost: float | None  # in the currency of runtime.price_per_hour
    basis: str


def utilisation(
    shape: Shape, tokens_per_micro_batch: int, gpu: Gpu, compiled: bool, block_checkpointing: bool
) -> float:
    """Predicted share of the device's peak FLOP/s."""
    recompute = BLOCK_CHECKPOINTING if block_checkpointing else 1.0
    if not gpu.is_cuda:
        return CPU_UTILISATION * recompute
    half = HALF_TOKENS_AT_768 * 768 / shape.width
    fill = tokens_per_micro_batch / (tokens_per_micro_batch + half)
    reached = _interpolate(UTILISATION_BY_WIDTH, shape.width) * fill * gpu.speed * recompute
    return min(0.87, reached * (1.0 if compiled else EAGER))  # 0.87: the best matmul measured on an A100


def estimate(
    config: RunConfig,
    shape: Shape,
    gpu: Gpu,
    *,
    compiled: bool,
    tokens: int,
    total_batch_size: int,
    checkpoint_bytes: int,
) -> Duration:
    """Predict a pretraining run of `tokens` tokens in steps of `total_batch_size`."""
    if gpu.peak_flops <= 0:
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
            basis=f"no figure for {gpu.name}: its peak is not in the catalogue",
        )
    micro = config.batch.device_batch_size * shape.max_seq_len
    mfu = utilisation(shape, micro, gpu, compiled, config.batch.activation_checkpointing == "block")
    rate = mfu * gpu.peak_flops / shape.flops_per_token
    steps = tokens // total_batch_size
    evaluations = 1 + (steps // config.evaluate.every_steps if config.evaluate.every_steps else 0)
    checkpoints = 1 + (steps // config.checkpoint.every_steps if config.checkpoint.every_steps else 0)
    parts = {
        "training": tokens / rate,
        "evaluation": evaluations * config.evaluate.tokens * FORWARD_SHARE / rate,
        "checkpoints": checkpoints * checkpoint_bytes / DISK_BYTES_PER_SECOND,
        "compile": COMPILE_SECONDS if compiled else 0.0,
    }
    seconds = sum(parts.values()) * (1 + WALL_OVER_TRAIN)
    hours = seconds / 3600
    spread = HOST_SPREAD if gpu.id.startswith(("a100", "a800")) else 2.5 * HOST_SPREAD
    price = config.runtime.price_per_hour
    return Duration(
        low_hours=hours * (1 - spread),
        hours=hours,
        high_hours=hours * (1 + 2 * spread),
        tokens_per_second=rate,
        mfu=mfu,
        step_seconds=total_batch_size / rate,
        parts=parts,
        energy_kwh=gpu.watts * hours / 1000 if gpu.watts else None,
        cost=price * hours if price is not None else None,
        basis=_basis(gpu),
    )


def _basis(gpu: Gpu) -> str:
    if not gpu.is_cuda:
        return "float32 matmul rate of AVX2 cores; unmeasured on this machine"
    if gpu.id == "a100-80gb":
        return "published warm runs on A100-SXM4-80GB, by width and micro-batch; unmeasured on this card"
    return f"published A100-SXM4-80GB runs x {gpu.speed:g} for this card; unmeasured on it"


def _interpolate(table: tuple[tuple[int, float], ...], x: float) -> float:
    xs = [at for at, _ in table]
    if x <= xs[0]:
        return table[0][1]
    if x >= xs[-1]:
        return table[-1][1]
    right = bisect_left(xs, x)
    (x0, y0), (x1, y1) = table[right - 1], table[right]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
