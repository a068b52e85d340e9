"""make_plan: every number that follows from a configuration on a GPU, with its warnings. A pure function."""

from typing import NamedTuple

import msgspec

from engine.config.schema import CheckpointingMode, RunConfig
from engine.config.stages import MODEL_STAGES
from engine.core.diagnostic import Diagnostic
from engine.hardware.gpu_catalog import Gpu
from engine.plan import duration, memory
from engine.plan.batch import grad_accum_steps, tokens_per_micro_batch, tokens_per_step
from engine.plan.calibration import Calibration, corrected
from engine.plan.dataset_facts import (
    BUILTIN_CHARS,
    BYTES_PER_TOKEN,
    CHARS_PER_SHARD,
    CHARS_PER_TOKEN,
    SHARD_BYTES,
    TRAINING_SHARDS,
    shards_needed,
)
from engine.plan.duration import Duration
from engine.plan.host_memory import host_memory
from engine.plan.memory import Memory
from engine.plan.plan_stages import plan_stages
from engine.plan.plan_warnings import plan_warnings
from engine.plan.shape import Params, Shape, shape_of
from engine.plan.stage_plan import Given, Pipeline, StagePlan, Text, whole_pipeline
from engine.plan.stopping import stop_seconds


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
    checkpoint_seconds: float  # to write one
    params: Params
    flops_per_token: int
    total_flops: int
    activation_checkpointing: CheckpointingMode  # as used: what `auto` comes to here
    memory: Memory
    memory_by_checkpointing: tuple[CheckpointingOption, ...]
    time: Duration
    stages: tuple[StagePlan, ...]  # all that cost anything; what stands above is about pretraining alone
    expected_hours: tuple[float, float] | None
    warnings: tuple[Diagnostic, ...]
    pipeline: Pipeline = Pipeline()  # all stages together
    stop_seconds: float | None = None  # from the signal to the end: what a machine that is taken away must grant
    host_memory: int = 0  # bytes of the host's memory on CUDA; on a CPU those of `memory`

    @property
    def pretrains(self) -> bool:
        """Whether pretraining is one of the stages. If not, its figures are none of this plan's: `time` is unknown."""
        return any(stage.stage == "pretrain" for stage in self.stages)

    @property
    def trains(self) -> bool:
        """Whether a stage trains: it then holds gradients and the optimizer's state besides the weights."""
        return any(stage.stage in MODEL_STAGES for stage in self.stages)

    @property
    def peak_memory(self) -> int:
        """Bytes on the device at the peak of the most demanding stage; 0 where no stage uses the device."""
        return max((stage.peak_memory or 0 for stage in self.stages), default=0)


class _Modes(NamedTuple):
    """Memory and time in each mode of activation checkpointing."""

    memories: dict[CheckpointingMode, Memory]
    times: dict[CheckpointingMode, Duration]
    chosen: CheckpointingMode
    scale: float  # measured over predicted memory in the chosen mode

    def options(self) -> tuple[CheckpointingOption, ...]:
        """The modes side by side."""
        return tuple(
            CheckpointingOption(
                mode=mode,
                peak=estimate.total,
                fits=estimate.fits,
                time_factor=_ratio(self.times[mode].step_seconds, self.times["none"].step_seconds),
            )
            for mode, estimate in self.memories.items()
        )


def make_plan(config: RunConfig, gpu: Gpu, calibration: Calibration | None = None) -> Plan:
    """What `config` means on `gpu`, corrected by what was measured on that device before."""
    calibration = calibration or Calibration()
    shape = shape_of(config)
    compiled = uses_compile(config, gpu)
    steps = training_steps(config, shape)
    tokens = steps * tokens_per_step(config)
    checkpoint_bytes = checkpoint_size(shape, gpu)
    shards = min(shards_needed(tokens), TRAINING_SHARDS) + 1 if config.data.source == "fineweb-edu" else 0
    modes = _compare_modes(config, gpu, calibration, steps, checkpoint_bytes)
    given = Given(
        config=config,
        gpu=gpu,
        shape=shape,
        compiled=compiled,
        calibration=calibration,
        checkpoint_bytes=checkpoint_bytes,
        text=_text(config, shards),
        memory=modes.memories[modes.chosen],
        time=modes.times[modes.chosen],
        steps=steps,
        tokens=tokens,
    )
    return _assemble(given, modes, shards)


def _compare_modes(config: RunConfig, gpu: Gpu, calibration: Calibration, steps: int, checkpoint_bytes: int) -> _Modes:
    shape, compiled = shape_of(config), uses_compile(config, gpu)
    mode = memory.resolve_checkpointing(shape, config.batch, gpu, compiled)
    by_mode = memory.peak_by_mode(shape, config.batch, gpu, compiled)
    needed = {each: calibration.peak(in_mode(config, each), gpu, compiled) for each in by_mode}
    times = {
        each: duration.estimate(
            in_mode(config, each),
            gpu,
            compiled=compiled,
            steps=steps,
            checkpoint_bytes=checkpoint_bytes,
            evidence=calibration.speed(in_mode(config, each), gpu, compiled),
        )
        for each in by_mode
    }
    correction = needed[mode].correction
    return _Modes(
        memories={each: corrected(counted, needed[each]) for each, counted in by_mode.items()},
        times=times,
        chosen=mode,
        scale=correction.factor if correction else 1.0,
    )


def _disk(config: RunConfig, shards: int, tokens: int, steps: int, checkpoint_bytes: int) -> Disk:
    stages = config.pipeline.stages
    return Disk(
        shards=shards * SHARD_BYTES if "data" in stages else 0,
        tokens=BYTES_PER_TOKEN * (tokens + config.evaluate.tokens) if "tokenize" in stages else 0,
        checkpoints=checkpoints_kept(config, steps) * checkpoint_bytes,
    )


def _assemble(given: Given, modes: _Modes, shards: int) -> Plan:
    """The plan of what was worked out."""
    config, gpu, shape, time = given.config, given.gpu, given.shape, given.time
    stage_names = config.pipeline.stages
    accum = grad_accum_steps(config)
    stages = plan_stages(given)
    disk = _disk(config, shards, given.tokens, given.steps, given.checkpoint_bytes)
    checkpoint_seconds = given.checkpoint_bytes / duration.DISK_BYTES_PER_SECOND
    trains = any(stage in MODEL_STAGES for stage in stage_names)
    return Plan(
        preset=config.about.preset,
        gpu=gpu.id,
        gpu_name=gpu.name,
        compiled=given.compiled,
        depth=shape.depth,
        width=shape.width,
        heads=shape.heads,
        vocab_size=shape.vocab_size,
        max_seq_len=shape.max_seq_len,
        device_batch_size=config.batch.device_batch_size,
        grad_accum_steps=accum,
        total_batch_size=tokens_per_step(config),
        requested_total_batch_size=config.batch.total_batch_size,
        tokens_per_micro_batch=tokens_per_micro_batch(config),
        steps=given.steps,
        tokens=given.tokens,
        tokens_per_param=given.tokens / shape.params.total,
        data_shards=shards,
        disk_bytes=disk.shards + disk.tokens + disk.checkpoints,
        disk=disk,
        checkpoint_bytes=given.checkpoint_bytes,
        checkpoint_seconds=checkpoint_seconds,
        stop_seconds=stop_seconds(time, given.steps, accum, checkpoint_seconds, on_gpu=gpu.is_cuda),
        params=shape.params,
        flops_per_token=shape.flops_per_token,
        total_flops=shape.flops_per_token * given.tokens,
        activation_checkpointing=modes.chosen,
        memory=given.memory,
        memory_by_checkpointing=modes.options(),
        time=time if "pretrain" in stage_names else duration.unknown("pretrain is not one of the stages"),
        stages=stages,
        expected_hours=config.about.expected_hours,
        warnings=tuple(plan_warnings(given, modes.scale, stages)),
        pipeline=whole_pipeline(stages),
        host_memory=host_memory(shape, trains) if gpu.is_cuda else given.memory.total,
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


def _text(config: RunConfig, shards: int) -> Text:
    """The corpus: all of its shards are turned into tokens, whatever is trained on."""
    if config.data.source == "fineweb-edu":
        chars = shards * CHARS_PER_SHARD
        return Text(chars, round(chars / CHARS_PER_TOKEN), shards * SHARD_BYTES)
    return Text(BUILTIN_CHARS if config.data.source == "builtin" else None, None, 0)


def checkpoints_kept(config: RunConfig, steps: int) -> int:
    """The most checkpoints that are on the disk at one time: each stage that trains leaves its own, and a new one is
    whole before an old one goes. Those that are kept for good are counted of pretraining, of `steps` steps, alone."""
    kept = config.checkpoint
    training = [stage for stage in config.pipeline.stages if stage in MODEL_STAGES]
    permanent = steps // kept.keep_every_steps if kept.keep_every_steps and "pretrain" in training else 0
    return len(training) * (kept.keep_last + kept.keep_best) + permanent + 1 if training else 0


def checkpoint_size(shape: Shape, gpu: Gpu) -> int:
    """Bytes of one checkpoint: weights and optimizer state, as they lie in memory."""
    table = 2 if gpu.is_cuda else 4
    p = shape.params
    return (4 + 4) * p.matrices + (4 + 8) * p.lm_head + 3 * table * p.embedding


def _ratio(value: float | None, of: float | None) -> float | None:
    return None if value is None or of is None else value / of
