"""Every stage of the pipeline planned like pretraining, by what it does: text, training, rewards, judging."""

from collections.abc import Callable
from typing import Literal

import msgspec

from engine.config.layers import with_changes
from engine.config.schema import RunConfig
from engine.config.train_spec import finetuning_steps, problem_steps, stage_config
from engine.core.diagnostic import Changes
from engine.plan import duration, memory
from engine.plan.batch import tokens_per_step
from engine.plan.calibration import corrected, form_of
from engine.plan.dataset_facts import CORE_BYTES, RL_PROBLEMS, conversations_in, is_remote
from engine.plan.memory import Memory
from engine.plan.memory_timeline import MemoryPoint
from engine.plan.stage_memory import evaluate_timeline, generative_timeline, multiple_choice_timeline, rl_timeline
from engine.plan.stage_plan import Given, StagePlan, of_duration, on_device, timed, with_memory
from engine.plan.stage_time import (
    START,
    TEXT_RATES,
    Span,
    asked,
    chat_eval_span,
    core_tokens,
    evaluate_span,
    rl_span,
    rl_tokens,
    text_span,
)

UNSURE = (0.75, 1.25)  # of steps that follow from estimated lengths
HOST = "in the host's memory, which is not predicted"
PROMPTS = "prompts by estimate"
LENGTHS = "range by the length of answers"


def plan_stages(given: Given) -> tuple[StagePlan, ...]:
    """The plan of each stage that costs anything, in the pipeline's order."""
    return tuple(_PLANS[stage](given) for stage in given.config.pipeline.stages if stage in _PLANS)


def fits_with(given: Given, stage: str, changes: Changes) -> bool:
    """Whether a stage fits with these dotted overrides."""
    return bool(_PLANS[stage](given._replace(config=with_changes(given.config, changes))).fits)


# text


def _data(given: Given) -> StagePlan:
    config = given.config
    core = "evaluate" in config.pipeline.stages and config.evaluate.core == "download"
    size, sets = given.text.download_bytes + CORE_BYTES * core, _stages_with_datasets(config)
    if not size and not sets:
        return _on_host(given, "data", START, "nothing is downloaded")
    what = [f"{size / 1e9:.1f} GB"] * bool(size) + [f"datasets for {', '.join(sets)}"] * bool(sets)
    basis = f"downloads {' and '.join(what)}, as fast as the network is"
    return StagePlan(stage="data", memory_basis=HOST, time_basis=basis)


def _stages_with_datasets(config: RunConfig) -> list[str]:
    """Stages that ask for datasets of the hub."""
    wanted = {
        "midtrain": any(map(is_remote, config.midtrain.sources)),
        "sft": any(map(is_remote, config.sft.sources)),
        "rl": config.rl.task == "gsm8k",
        "chat_eval": any(task != "builtin" for task in config.chat_eval.tasks),
    }
    return [stage for stage in config.pipeline.stages if wanted.get(stage)]


def _tokenizer(given: Given) -> StagePlan:
    return _of_text(given, "tokenizer", given.config.tokenizer.train_chars, None)


def _tokenize(given: Given) -> StagePlan:
    return _of_text(given, "tokenize", None, given.text.tokens)


def _of_text(given: Given, stage: str, most: int | None, tokens: int | None) -> StagePlan:
    chars = given.text.chars
    if chars is None:
        return StagePlan(stage=stage, memory_basis=HOST, time_basis="not known before data.paths are read")
    chars = min(chars, most) if most else chars
    low, _, high = reversed(TEXT_RATES)
    rate = f"{low / 1e6:.0f}–{high / 1e6:.0f}M characters/s, depending on the host's cores"
    span = text_span(chars)
    return _on_host(given, stage, span, f"{chars / 1e6:,.0f}M characters, {rate}; an estimate", tokens)


def _on_host(given: Given, stage: str, span: Span, basis: str, tokens: int | None = None) -> StagePlan:
    plan = StagePlan(stage=stage, tokens=tokens, memory_basis=HOST)
    return timed(plan, given, span, basis)


# training


def _pretrain(given: Given) -> StagePlan:
    plan = StagePlan(
        stage="pretrain",
        device_batch_size=given.config.batch.device_batch_size,
        total_batch_size=tokens_per_step(given.config),
        steps=given.steps,
        tokens=given.tokens,
    )
    return of_duration(with_memory(plan, given.memory), given.time)


def _finetune(given: Given, stage: Literal["midtrain", "sft"]) -> StagePlan:
    """As pretraining, with the stage's own batch; the loss, the trunk and the optimizer are the same."""
    config = given.config
    settings = config.midtrain if stage == "midtrain" else config.sft
    used = stage_config(config, stage)
    needed = _finetuning_memory(given, used)
    per_step, held = tokens_per_step(used), conversations_in(settings.sources)
    steps = settings.steps or (finetuning_steps(settings, held.tokens, per_step) if held else None)
    plan = StagePlan(
        stage=stage,
        device_batch_size=used.batch.device_batch_size,
        total_batch_size=per_step,
        steps=steps,
        tokens=steps * per_step if steps else None,
    )
    plan = with_memory(plan, needed)
    if steps is None:
        return msgspec.structs.replace(plan, time_basis=f"not known before {stage}.sources are read")
    if held is not None:  # the held-out answers of small sources are fewer than an evaluation would take
        judged = min(used.evaluate.tokens, max(1, held.validation))
        used = msgspec.structs.replace(used, evaluate=msgspec.structs.replace(used.evaluate, tokens=judged))
    time = duration.estimate(
        used,
        given.gpu,
        compiled=given.compiled,
        steps=steps,
        checkpoint_bytes=given.checkpoint_bytes,
        evidence=given.calibration.speed(used, given.gpu, given.compiled),
        warm=_compiled_before(given, stage, used),
    )
    if time.low_hours is None or time.hours is None or time.high_hours is None:
        return of_duration(plan, time)
    span, basis = Span(3600 * time.low_hours, 3600 * time.hours, 3600 * time.high_hours), time.basis
    if settings.steps is None:
        low, high = UNSURE
        span, basis = span.times(low, 1.0, high), f"{basis}; steps by estimated lengths of conversations"
    return timed(plan, given, START + span, basis)


def _compiled_before(given: Given, stage: str, used: RunConfig) -> bool:
    """Whether an earlier stage of the run has compiled the same model for micro-batches of the same size."""
    stages = given.config.pipeline.stages
    earlier = [each for each in ("pretrain", "midtrain") if each in stages and each != stage]
    return any(form_of(stage_config(given.config, each)) == form_of(used) for each in earlier)


def _finetuning_memory(given: Given, used: RunConfig) -> Memory:
    counted = memory.estimate(given.shape, used.batch, given.gpu, given.compiled)
    return corrected(counted, given.calibration.peak(used, given.gpu, given.compiled))


# rewards and judging: never compiled


def _rl(given: Given) -> StagePlan:
    config, shape = given.config, given.shape
    rl, problems = config.rl, RL_PROBLEMS[config.rl.task][0]
    mode = memory.resolve_checkpointing(shape, stage_config(config, "rl").batch, given.gpu, given.compiled)
    steps = problem_steps(rl, problems.number)
    timeline = rl_timeline(shape, config, problems.longest_prompt, mode, given.gpu.is_cuda)
    plan = StagePlan(
        stage="rl",
        device_batch_size=min(rl.device_batch_size, rl.samples_per_problem),
        steps=steps,
        tokens=rl_tokens(config, steps),
    )
    counted = memory.breakdown(timeline, given.gpu, compiled=False, mode=mode)
    needed = corrected(counted, given.calibration.peak(config, given.gpu, compiled=False))
    plan = with_memory(plan, needed, PROMPTS)
    span = rl_span(config, shape, given.gpu, mode, steps, given.checkpoint_bytes)
    return on_device(plan, given, span, LENGTHS)


def _evaluate(given: Given) -> StagePlan:
    config, shape = given.config, given.shape
    core = config.evaluate.core not in ("off", "auto")
    timeline = evaluate_timeline(shape, config.batch, config.evaluate.core != "off", given.gpu.is_cuda)
    tokens = 2 * config.evaluate.tokens + (core_tokens(config) if core else 0)
    plan = StagePlan(stage="evaluate", device_batch_size=config.batch.device_batch_size, tokens=tokens)
    plan = with_memory(plan, memory.breakdown(timeline, given.gpu, compiled=False, saves=False))
    note = f"CORE of {core_tokens(config) / 1e6:.0f}M tokens, half to twice as many" if core else ""
    if config.evaluate.core == "auto":
        note = "without CORE, which is evaluated where its bundle is here"
    return on_device(plan, given, evaluate_span(config, shape, given.gpu, core), note)


def _chat_eval(given: Given) -> StagePlan:
    config, shape, cuda = given.config, given.shape, given.gpu.is_cuda
    settings = config.chat_eval
    timeline: list[MemoryPoint] = []
    tokens = 0.0
    for problems in asked(config):
        tokens += problems.number * (problems.prompt + min(problems.answer, settings.max_new_tokens))
        if problems.answer:
            rows = min(settings.batch_size, problems.number)
            found = generative_timeline(
                shape, config.batch, rows, problems.longest_prompt, settings.max_new_tokens, cuda
            )
        else:
            found = multiple_choice_timeline(shape, config.batch, problems.number, problems.prompt, cuda)
        timeline += found
    if not timeline:
        return _on_host(given, "chat_eval", START, "no tasks are asked")
    plan = StagePlan(stage="chat_eval", device_batch_size=settings.batch_size, tokens=round(tokens))
    plan = with_memory(plan, memory.breakdown(timeline, given.gpu, compiled=False, saves=False), PROMPTS)
    return on_device(plan, given, chat_eval_span(config, shape, given.gpu), LENGTHS)


_PLANS: dict[str, Callable[[Given], StagePlan]] = {
    "data": _data,
    "tokenizer": _tokenizer,
    "tokenize": _tokenize,
    "pretrain": _pretrain,
    "evaluate": _evaluate,
    "midtrain": lambda given: _finetune(given, "midtrain"),
    "sft": lambda given: _finetune(given, "sft"),
    "rl": _rl,
    "chat_eval": _chat_eval,
}
