"""make_plan: every number that follows from a configuration on a GPU, with its warnings. A pure function."""

import math

import msgspec

from engine.plan import duration, memory
from engine.plan.advice import Changes, ways_to_fit
from engine.plan.batch import grad_accum_steps, tokens_per_micro_batch, tokens_per_step
from engine.plan.calibration import Calibration, corrected
from engine.plan.config import CheckpointingMode, RunConfig
from engine.plan.duration import Duration
from engine.plan.gpus import GIB, Gpu
from engine.plan.memory import SAFE_HEADROOM, Memory
from engine.plan.shape import Params, Shape, shape_of
from engine.plan.stages import StagePlan, plan_stages

# FineWeb-Edu as nanochat shards it.
CHARS_PER_TOKEN = 4.8  # English web text at a vocabulary of 65,536
CHARS_PER_SHARD = 250_000_000
SHARD_BYTES = 100_000_000  # compressed, on disk
TRAINING_SHARDS = 1_822  # of 1,823; the last is the pinned validation shard
BYTES_PER_TOKEN = 2  # uint16 token files
CHINCHILLA_TOKENS_PER_PARAM = 20


class Warning(msgspec.Struct, frozen=True, kw_only=True):
    """Something the user should know before launching, and the way out."""

    code: str
    message: str
    fix: str
    change: Changes | None = None  # dotted overrides that apply the fix


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on disk, by what they are for."""

    shards: int
    tokens: int
    checkpoints: int


class CheckpointingOption(msgspec.Struct, frozen=True, kw_only=True):
    """What one mode of activation checkpointing saves and costs."""

    mode: CheckpointingMode
    peak: int  # bytes, with overhead
    fits: bool
    time_factor: float | None  # of the step time, relative to `none`; None where the device's speed is not known


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration means on one GPU."""

    preset: str
    gpu: str
    gpu_name: str
    compiled: bool
    depth: int
    width: int
    heads: int
    vocab_size: int
    max_seq_len: int
    device_batch_size: int
    grad_accum_steps: int
    total_batch_size: int  # tokens, as used
    requested_total_batch_size: int
    tokens_per_micro_batch: int
    steps: int
    tokens: int
    tokens_per_param: float
    data_shards: int  # training shards and the validation shard; 0 for sources that are not sharded
    disk_bytes: int
    disk: Disk
    checkpoint_bytes: int
    checkpoint_seconds: float  # to write one, as a stop or a preemption does before it ends
    params: Params
    flops_per_token: int
    total_flops: int
    activation_checkpointing: CheckpointingMode  # as used: what `auto` comes to here
    memory: Memory
    memory_by_checkpointing: tuple[CheckpointingOption, ...]
    time: Duration
    stages: tuple[StagePlan, ...]  # those that train on conversations, which the figures above do not count
    expected_hours: tuple[float, float] | None
    warnings: tuple[Warning, ...]


def make_plan(config: RunConfig, gpu: Gpu, calibration: Calibration | None = None) -> Plan:
    """What `config` means on `gpu`, corrected by what was measured on that device before."""
    calibration = calibration or Calibration()
    shape = shape_of(config)
    compiled = uses_compile(config, gpu)
    accum = grad_accum_steps(config)
    per_step = tokens_per_step(config)
    steps = training_steps(config, shape)
    tokens = steps * per_step
    checkpoint_bytes = checkpoint_size(shape, gpu)
    shards = shards_needed(tokens) + 1 if config.data.source == "fineweb-edu" else 0
    disk = Disk(
        shards=shards * SHARD_BYTES,
        tokens=BYTES_PER_TOKEN * (tokens + config.evaluate.tokens),
        checkpoints=checkpoints_kept(config, steps) * checkpoint_bytes,
    )
    mode = memory.resolve_checkpointing(shape, config.batch, gpu, compiled)
    by_mode = memory.peak_by_mode(shape, config.batch, gpu, compiled)
    needed = {each: calibration.peak(in_mode(config, each), gpu, compiled) for each in by_mode}
    memories = {each: corrected(counted, needed[each]) for each, counted in by_mode.items()}
    times = {
        each: duration.estimate(
            in_mode(config, each),
            gpu,
            compiled=compiled,
            steps=steps,
            checkpoint_bytes=checkpoint_bytes,
            correction=calibration.speed(in_mode(config, each), gpu, compiled),
        )
        for each in memories
    }
    scale = correction.factor if (correction := needed[mode]) else 1.0
    config, vram, time = in_mode(config, mode), memories[mode], times[mode]
    return Plan(
        preset=config.about.preset,
        gpu=gpu.id,
        gpu_name=gpu.name,
        compiled=compiled,
        depth=shape.depth,
        width=shape.width,
        heads=shape.heads,
        vocab_size=shape.vocab_size,
        max_seq_len=shape.max_seq_len,
        device_batch_size=config.batch.device_batch_size,
        grad_accum_steps=accum,
        total_batch_size=per_step,
        requested_total_batch_size=config.batch.total_batch_size,
        tokens_per_micro_batch=tokens_per_micro_batch(config),
        steps=steps,
        tokens=tokens,
        tokens_per_param=tokens / shape.params.total,
        data_shards=shards,
        disk_bytes=disk.shards + disk.tokens + disk.checkpoints,
        disk=disk,
        checkpoint_bytes=checkpoint_bytes,
        checkpoint_seconds=checkpoint_bytes / duration.DISK_BYTES_PER_SECOND,
        params=shape.params,
        flops_per_token=shape.flops_per_token,
        total_flops=shape.flops_per_token * tokens,
        activation_checkpointing=mode,
        memory=vram,
        memory_by_checkpointing=tuple(
            CheckpointingOption(
                mode=each,
                peak=memories[each].total,
                fits=memories[each].fits,
                time_factor=_ratio(times[each].step_seconds, times["none"].step_seconds),
            )
            for each in memories
        ),
        time=time,
        stages=plan_stages(config, time.tokens_per_second),
        expected_hours=config.about.expected_hours,
        warnings=tuple(_warnings(config, gpu, shape, vram, time, steps, tokens, compiled, scale)),
    )


def in_mode(config: RunConfig, mode: CheckpointingMode) -> RunConfig:
    """The configuration with this mode of activation checkpointing."""
    return msgspec.structs.replace(config, batch=msgspec.structs.replace(config.batch, activation_checkpointing=mode))


def uses_compile(config: RunConfig, gpu: Gpu) -> bool:
    """Whether torch.compile is used: as asked; `auto` compiles on CUDA, where it doubles the speed, not on a CPU."""
    return config.runtime.compile == "on" or (config.runtime.compile == "auto" and gpu.is_cuda)


def training_steps(config: RunConfig, shape: Shape) -> int:
    """Optimizer steps: as asked, else the fewest whole steps that reach the token budget."""
    if config.budget.steps is not None:
        return config.budget.steps
    tokens = config.budget.tokens or round(config.budget.tokens_per_param * shape.params.total)
    return max(1, -(-tokens // tokens_per_step(config)))


def shards_needed(tokens: int) -> int:
    """Training shards that hold this many tokens."""
    return math.ceil(tokens * CHARS_PER_TOKEN / CHARS_PER_SHARD)


def checkpoints_kept(config: RunConfig, steps: int) -> int:
    """The most checkpoints that are on the disk at one time: a new one is whole before an old one goes."""
    kept = config.checkpoint
    permanent = steps // kept.keep_every_steps if kept.keep_every_steps else 0
    return kept.keep_last + 1 + permanent + kept.keep_best


def checkpoint_size(shape: Shape, gpu: Gpu) -> int:
    """Bytes of one checkpoint: weights and optimizer state, as they lie in memory."""
    table = 2 if gpu.is_cuda else 4
    p = shape.params
    return (4 + 4) * p.matrices + (4 + 8) * p.lm_head + 3 * table * p.embedding


def _ratio(value: float | None, of: float | None) -> float | None:
    return None if value is None or of is None else value / of


def _warnings(
    config: RunConfig,
    gpu: Gpu,
    shape: Shape,
    vram: Memory,
    time: Duration,
    steps: int,
    tokens: int,
    compiled: bool,
    scale: float,
) -> list[Warning]:
    found = [
        _rounded_batch(config),
        _does_not_fit(config, gpu, vram, compiled, scale),
        _few_tokens(config, shape, tokens),
        _short_warmdown(config, steps),
        _more_data_than_there_is(config, tokens),
        _no_bfloat16(gpu),
        _unknown_speed(gpu),
        _optimistic_document(config, time),
    ]
    return [warning for warning in found if warning is not None]


def _rounded_batch(config: RunConfig) -> Warning | None:
    asked, used = config.batch.total_batch_size, tokens_per_step(config)
    if asked == used:
        return None
    micro, accum = tokens_per_micro_batch(config), grad_accum_steps(config)
    return Warning(
        code="total_batch_rounded",
        message=f"{asked:,} tokens were asked for, which is {asked / micro:.2f} micro-batches of {micro:,}; "
        f"the plan uses {accum} = {used:,}.",
        fix=f"set batch.total_batch_size = {used}",
        change={"batch.total_batch_size": used},
    )


def _does_not_fit(config: RunConfig, gpu: Gpu, vram: Memory, compiled: bool, scale: float) -> Warning | None:
    need, have = f"{vram.total / GIB:.1f} GiB", f"{gpu.capacity / GIB:.1f} GiB"
    if vram.fits and vram.headroom >= SAFE_HEADROOM:
        return None
    offers = [way for way in ways_to_fit(config, gpu, compiled, scale) if way.fits]
    fix = offers[0].message if offers else "choose a smaller model.depth"
    change = offers[0].change if offers else None
    if vram.fits:
        message = f"{need} of {have} are predicted at the peak ({vram.peak_phase}): {vram.headroom:.0%} are left."
        return Warning(code="tight_memory", message=message, fix=fix, change=change)
    message = f"does not fit: {need} are needed at the peak ({vram.peak_phase}), {gpu.name} has {have}."
    return Warning(code="does_not_fit", message=message, fix=fix, change=change)


def _few_tokens(config: RunConfig, shape: Shape, tokens: int) -> Warning | None:
    ratio = tokens / shape.params.total
    if ratio >= 0.98 * CHINCHILLA_TOKENS_PER_PARAM:
        return None
    if config.budget.steps is not None:  # as asked: no reason to argue
        return Warning(
            code="few_tokens_per_param",
            message=f"{ratio:.2g} tokens per parameter: enough to see it work, not to train the model.",
            fix="set budget.steps = none to train it in full",
            change=None,
        )
    return Warning(
        code="few_tokens_per_param",
        message=f"{ratio:.2g} tokens per parameter; about {CHINCHILLA_TOKENS_PER_PARAM} are compute-optimal, "
        "so a smaller model would reach the same loss with this budget.",
        fix=f"train longer (budget.tokens_per_param = {CHINCHILLA_TOKENS_PER_PARAM}) or take a smaller model.depth",
        change=None,
    )


def _short_warmdown(config: RunConfig, steps: int) -> Warning | None:
    if config.optim.warmup_steps < steps:
        return None
    return Warning(
        code="warmup_too_long",
        message=f"optim.warmup_steps = {config.optim.warmup_steps}, but the run has {steps} steps: "
        "the learning rate never reaches its peak.",
        fix=f"set optim.warmup_steps = {steps // 10}",
        change={"optim.warmup_steps": steps // 10},
    )


def _more_data_than_there_is(config: RunConfig, tokens: int) -> Warning | None:
    shards = shards_needed(tokens)
    if config.data.source != "fineweb-edu" or shards <= TRAINING_SHARDS:
        return None
    return Warning(
        code="repeated_epochs",
        message=f"the budget needs {shards:,} shards, the corpus has {TRAINING_SHARDS:,}: "
        f"text repeats {shards / TRAINING_SHARDS:.1f} times.",
        fix="lower budget.tokens_per_param",
        change=None,
    )


def _no_bfloat16(gpu: Gpu) -> Warning | None:
    if gpu.has_bf16 or not gpu.is_cuda:
        return None
    return Warning(
        code="no_bfloat16",
        message=f"{gpu.name} has no bfloat16 units; training needs them and would be many times slower.",
        fix="use an A100 or newer",
    )


def _unknown_speed(gpu: Gpu) -> Warning | None:
    if gpu.peak_flops > 0:
        return None
    return Warning(
        code="unknown_gpu",
        message=f"{gpu.name} is not in the catalogue: memory is planned from its capacity, time is not predicted.",
        fix="name a similar one with --gpu to see its times",
    )


def _optimistic_document(config: RunConfig, time: Duration) -> Warning | None:
    expected = config.about.expected_hours
    if expected is None or time.hours is None or time.low_hours is None or time.high_hours is None:
        return None
    if time.low_hours <= expected[1] and time.high_hours >= expected[0]:
        return None
    return Warning(
        code="expected_hours_differ",
        message=f"the preset's source expects {expected[0]:g}-{expected[1]:g} h; this plan predicts "
        f"{time.low_hours:.1f}-{time.high_hours:.1f} h ({time.basis}).",
        fix="trust the plan's range; budget.tokens_per_param scales it",
    )
