"""What the stages after pretraining mean: their settings in pretraining's terms, and how long they will take."""

import math
import re

import msgspec

from engine.plan.batch import tokens_per_step
from engine.plan.config import MidtrainConfig, OptimConfig, RlConfig, RunConfig, SftConfig

EVALUATED_STEPS = 20  # validation on conversations takes no more tokens than so many steps train on (nanochat)

# (conversations, mean tokens at a vocabulary of 65,536) of the known sources; the tokens are estimates
SOURCE_SIZES = {
    "smoltalk": (460_341, 760),
    "mmlu": (99_842, 300),
    "gsm8k": (7_473, 190),
    "arc-easy": (2_251, 80),
    "arc-challenge": (1_119, 90),
    "builtin": (2_300, 45),
}


class StagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage of training on conversations comes to. None where its sources say nothing before they are read."""

    stage: str
    device_batch_size: int
    total_batch_size: int  # tokens, as used
    steps: int | None
    hours: float | None  # at pretraining's throughput


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


def plan_stages(config: RunConfig, tokens_per_second: float | None) -> tuple[StagePlan, ...]:
    """The plans of those stages of the pipeline that train on conversations."""
    found = []
    for stage, settings in (("midtrain", config.midtrain), ("sft", config.sft)):
        if stage not in config.pipeline.stages:
            continue
        used = stage_config(config, stage)
        per_step = tokens_per_step(used)
        steps = settings.steps or _steps(settings, per_step)
        found.append(
            StagePlan(
                stage=stage,
                device_batch_size=used.batch.device_batch_size,
                total_batch_size=per_step,
                steps=steps,
                hours=steps * per_step / tokens_per_second / 3600 if steps and tokens_per_second else None,
            )
        )
    return tuple(found)


def finetuning_steps(settings: MidtrainConfig | SftConfig, tokens: int, tokens_per_step: int) -> int:
    """Optimizer steps over `tokens` (padding included): as asked, else the fewest that cover the epochs."""
    return settings.steps or max(1, math.ceil(settings.epochs * tokens / tokens_per_step))


def problem_steps(settings: RlConfig, problems: int) -> int:
    """Optimizer steps of reinforcement learning: as asked, else the fewest whole ones that cover the epochs."""
    return settings.steps or max(1, math.ceil(settings.epochs * problems / settings.problems_per_step))


def _steps(settings: MidtrainConfig | SftConfig, per_step: int) -> int | None:
    tokens = 0
    for source in settings.sources:
        limited = re.fullmatch(r"(.+):(\d+)", source)
        name = limited[1] if limited else source
        if name not in SOURCE_SIZES:
            return None
        count, mean = SOURCE_SIZES[name]
        tokens += mean * (min(count, int(limited[2])) if limited else count)
    return finetuning_steps(settings, tokens, per_step)


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
        evaluate=change(config.evaluate, every_steps=settings.evaluate_every_steps, sample_every_steps=0),
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
