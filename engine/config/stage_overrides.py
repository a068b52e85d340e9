"""What the settings of the stages after pretraining mean: the same in pretraining's terms, and their steps."""

import math

import msgspec

from engine.config.schema import MidtrainConfig, OptimConfig, RlConfig, RunConfig, SftConfig

EVALUATED_STEPS = 20  # validation on conversations takes no more tokens than so many steps train on (nanochat)


def stage_config(config: RunConfig, stage: str) -> RunConfig:
    """The configuration with the stage's own settings in the places of pretraining's, so that one trainer serves all.

    Micro-batches are made smaller where the stage's step is smaller than one of pretraining's.
    """
    if stage == "midtrain":
        return _finetuning(config, config.midtrain, config.optim.muon_momentum_warmup_steps)
    if stage == "sft":
        return _finetuning(config, config.sft, 0)
    if stage == "rl":
        return _reinforcement(config)
    return config


def finetuning_steps(settings: MidtrainConfig | SftConfig, tokens: int, tokens_per_step: int) -> int:
    """Optimizer steps over `tokens` (padding included): as asked, else the fewest that cover the epochs."""
    return settings.steps or max(1, math.ceil(settings.epochs * tokens / tokens_per_step))


def problem_steps(settings: RlConfig, problems: int) -> int:
    """Optimizer steps of reinforcement learning: as asked, else the fewest whole ones that cover the epochs."""
    return settings.steps or max(1, math.ceil(settings.epochs * problems / settings.problems_per_step))


def _finetuning(config: RunConfig, settings: MidtrainConfig | SftConfig, momentum_warmup: int) -> RunConfig:
    seq_len = config.model.max_seq_len
    total = max(settings.total_batch_size or config.batch.total_batch_size, seq_len)
    rows = min(settings.device_batch_size or config.batch.device_batch_size, total // seq_len)
    change = msgspec.structs.replace
    batch = change(config.batch, device_batch_size=rows, total_batch_size=total)
    optim = _scaled(config.optim, settings.learning_rate_fraction, settings.warmdown_fraction, momentum_warmup)
    evaluate = change(
        config.evaluate,
        every_steps=settings.evaluate_every_steps,
        tokens=min(config.evaluate.tokens, EVALUATED_STEPS * total),
        sample_every_steps=0,
    )
    data = change(config.data, shuffle=True, on_exhausted="epoch")
    return change(config, batch=batch, optim=optim, evaluate=evaluate, data=data)


def _reinforcement(config: RunConfig) -> RunConfig:
    """A row is a problem, and a batch the problems of a step; rates fall from the first step on (nanochat)."""
    settings, change = config.rl, msgspec.structs.replace
    rows = settings.problems_per_step
    return change(
        config,
        batch=change(config.batch, device_batch_size=rows, total_batch_size=rows * config.model.max_seq_len),
        optim=_scaled(config.optim, settings.learning_rate_fraction, warmdown_fraction=1.0, momentum_warmup=0),
        evaluate=change(
            config.evaluate,
            every_steps=settings.evaluate_every_steps,
            sample_every_steps=settings.evaluate_every_steps,  # a few answers: rewards alone do not say what for
        ),
        data=change(config.data, shuffle=True, on_exhausted="epoch"),
        # a policy's loss lies about 0, where no value is a spike
        runtime=change(config.runtime, on_spike="warn"),
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
