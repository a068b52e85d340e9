"""How a stage trains: one `TrainSpec` per training stage, computed from the configuration. Pure.

Planner, trainer and status read it. It is not stored: a user may edit run.toml before a resume, and the spec follows.
"""

import math
from typing import Literal

import msgspec

from engine.config.schema import (
    BatchConfig,
    CheckpointConfig,
    EvaluateConfig,
    MidtrainConfig,
    OptimConfig,
    RlConfig,
    RunConfig,
    SftConfig,
)

EVALUATED_STEPS = 20  # validation on conversations takes no more tokens than so many steps train on (nanochat)


class TrainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the trainer of one stage needs: batch, optimizer, schedule, and when it evaluates and saves."""

    stage: str
    steps: int | None  # optimizer steps as configured; None: as many as the data or the budget gives
    batch: BatchConfig
    optim: OptimConfig  # learning rates, weight decay, warmup and warmdown
    evaluate: EvaluateConfig
    checkpoint: CheckpointConfig
    shuffle: bool
    on_exhausted: Literal["epoch", "error"]
    on_spike: Literal["warn", "skip"]


def train_spec(config: RunConfig, stage: str) -> TrainSpec:
    """The spec of a stage; that of pretraining for stages that do not train."""
    if stage == "midtrain":
        return _finetuning(config, stage, config.midtrain, config.optim.muon_momentum_warmup_steps)
    if stage == "sft":
        return _finetuning(config, stage, config.sft, 0)
    if stage == "rl":
        return _reinforcement(config)
    return TrainSpec(
        stage=stage,
        steps=config.budget.steps,
        batch=config.batch,
        optim=config.optim,
        evaluate=config.evaluate,
        checkpoint=config.checkpoint,
        shuffle=config.data.shuffle,
        on_exhausted=config.data.on_exhausted,
        on_spike=config.runtime.on_spike,
    )


def effective_config(config: RunConfig, spec: TrainSpec) -> RunConfig:
    """The configuration with the values of a spec in its sections: checkpoints record it, and functions that take a
    configuration (memory and time estimates, optimizer steps, evaluations) work for every stage."""
    change = msgspec.structs.replace
    return change(
        config,
        batch=spec.batch,
        optim=spec.optim,
        evaluate=spec.evaluate,
        data=change(config.data, shuffle=spec.shuffle, on_exhausted=spec.on_exhausted),
        runtime=change(config.runtime, on_spike=spec.on_spike),
    )


def stage_config(config: RunConfig, stage: str) -> RunConfig:
    """The configuration as a stage uses it."""
    return effective_config(config, train_spec(config, stage))


def finetuning_steps(settings: MidtrainConfig | SftConfig, tokens: int, tokens_per_step: int) -> int:
    """Optimizer steps over `tokens` (padding included): as configured, else the fewest that cover the epochs."""
    return settings.steps or max(1, math.ceil(settings.epochs * tokens / tokens_per_step))


def problem_steps(settings: RlConfig, problems: int) -> int:
    """Optimizer steps of reinforcement learning: as configured, else the fewest whole ones that cover the epochs."""
    return settings.steps or max(1, math.ceil(settings.epochs * problems / settings.problems_per_step))


def _finetuning(config: RunConfig, stage: str, settings: MidtrainConfig | SftConfig, momentum_warmup: int) -> TrainSpec:
    """Micro-batches are smaller where the stage's step is smaller than one of pretraining's."""
    seq_len = config.model.max_seq_len
    total = max(settings.total_batch_size or config.batch.total_batch_size, seq_len)
    rows = min(settings.device_batch_size or config.batch.device_batch_size, total // seq_len)
    change = msgspec.structs.replace
    return TrainSpec(
        stage=stage,
        steps=settings.steps,
        batch=change(config.batch, device_batch_size=rows, total_batch_size=total),
        optim=_scaled(config.optim, settings.learning_rate_fraction, settings.warmdown_fraction, momentum_warmup),
        evaluate=change(
            config.evaluate,
            every_steps=settings.evaluate_every_steps,
            tokens=min(config.evaluate.tokens, EVALUATED_STEPS * total),
            sample_every_steps=0,
        ),
        checkpoint=config.checkpoint,
        shuffle=True,
        on_exhausted="epoch",
        on_spike=config.runtime.on_spike,
    )


def _reinforcement(config: RunConfig) -> TrainSpec:
    """A row is a problem, and a batch the problems of a step; rates fall from the first step on (nanochat)."""
    settings, change = config.rl, msgspec.structs.replace
    rows = settings.problems_per_step
    return TrainSpec(
        stage="rl",
        steps=settings.steps,
        batch=change(config.batch, device_batch_size=rows, total_batch_size=rows * config.model.max_seq_len),
        optim=_scaled(config.optim, settings.learning_rate_fraction, warmdown_fraction=1.0, momentum_warmup=0),
        evaluate=change(
            config.evaluate,
            every_steps=settings.evaluate_every_steps,
            sample_every_steps=settings.evaluate_every_steps,  # a few answers: rewards alone do not say what for
        ),
        checkpoint=config.checkpoint,
        shuffle=True,
        on_exhausted="epoch",
        on_spike="warn",  # the loss of a policy is near 0, where no value is a spike
    )


def _scaled(optim: OptimConfig, fraction: float, warmdown_fraction: float, momentum_warmup: int) -> OptimConfig:
    return msgspec.structs.replace(
        optim,
        matrix_lr=optim.matrix_lr * fraction,
        embedding_lr=optim.embedding_lr * fraction,
        head_lr=optim.head_lr * fraction,
        muon_momentum_warmup_steps=momentum_warmup,
        warmup_steps=0,
        warmdown_fraction=warmdown_fraction,
        final_lr_fraction=0.0,
    )
