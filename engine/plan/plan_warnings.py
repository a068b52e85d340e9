"""What the user should know about a plan before launching, each with its fix."""

from collections.abc import Iterator, Sequence

from engine.config.schema import RunConfig
from engine.config.stages import MODEL_STAGES
from engine.core import formatting
from engine.core.diagnostic import Changes, Diagnostic
from engine.hardware.gpu_catalog import Gpu
from engine.plan.advice import compute_optimal, ways_to_fit
from engine.plan.batch import grad_accum_steps, tokens_per_micro_batch, tokens_per_step
from engine.plan.dataset_facts import TRAINING_SHARDS, shards_needed
from engine.plan.duration import Duration
from engine.plan.memory import SAFE_HEADROOM, Memory
from engine.plan.plan_stages import fits_with
from engine.plan.scaling import CHINCHILLA_TOKENS_PER_PARAM, is_smoke_test, per_param, smoke_test_words
from engine.plan.shape import Shape
from engine.plan.stage_plan import Given, StagePlan


def plan_warnings(given: Given, scale: float, stages: Sequence[StagePlan]) -> Iterator[Diagnostic]:
    """All warnings of a plan. `scale`: measured over predicted memory of pretraining."""
    pretrains = "pretrain" in given.config.pipeline.stages
    found = [
        *(_of_pretraining(given, scale) if pretrains else ()),
        *(_stage_does_not_fit(given, stage) for stage in stages),
        *(_of_device(given.gpu) if any(stage.peak_memory is not None for stage in stages) else ()),
        _slower(given.config, given.gpu) if any(stage.stage in MODEL_STAGES for stage in stages) else None,
    ]
    yield from (warning for warning in found if warning is not None)


def _of_pretraining(given: Given, scale: float) -> Iterator[Diagnostic | None]:
    config, gpu = given.config, given.gpu
    yield _rounded_batch(config)
    yield _does_not_fit(config, gpu, given.memory, given.compiled, scale)
    yield _few_tokens(config, given.shape, given.tokens)
    yield _short_warmdown(config, given.steps)
    yield _more_data_than_there_is(config, given.tokens)
    yield _optimistic_document(config, given.time)


def _slower(config: RunConfig, gpu: Gpu) -> Diagnostic | None:
    if not (config.runtime.deterministic and gpu.is_cuda):
        return None
    return Diagnostic(
        code="deterministic",
        message="runtime.deterministic uses slower kernels for the backward passes of attention and embedding; the "
        "predicted times and memory do not include that.",
        help="leave it off unless runs must be reproducible",
        change={"runtime.deterministic": False},
        severity="note",
    )


def _of_device(gpu: Gpu) -> Iterator[Diagnostic | None]:
    """About the device, for stages that use it."""
    yield _no_bfloat16(gpu)
    yield _unknown_speed(gpu)


def _stage_does_not_fit(given: Given, stage: StagePlan) -> Diagnostic | None:
    """A stage needs more memory than there is; left out where the warning about pretraining covers it."""
    peak, memory = stage.peak_memory, given.memory
    if stage.fits is not False or peak is None or stage.stage == "pretrain":
        return None
    if "pretrain" in given.config.pipeline.stages and not memory.fits and memory.total >= peak:
        return None
    change = next((change for change in _smaller(given.config, stage) if fits_with(given, stage.stage, change)), None)
    settings = ", ".join(f"{path} = {value}" for path, value in change.items()) if change else ""
    have = f"{given.gpu.name} has {formatting.size(given.gpu.capacity)}"
    return Diagnostic(
        code=f"{stage.stage}_does_not_fit",
        message=f"stage {stage.stage} does not fit: {formatting.size(peak)} are needed at its peak "
        f"({stage.peak_phase}), {have}.",
        help=f"set {settings}" if change else "choose a smaller model.depth",
        change=change,
    )


def _smaller(config: RunConfig, stage: StagePlan) -> Iterator[Changes]:
    """Changes that could make a stage fit, the smallest first."""
    name, rows = stage.stage, stage.device_batch_size or 1
    # less at a time gives the same results
    own = {"chat_eval": "chat_eval.batch_size", "evaluate": "batch.device_batch_size"}
    for size in _halves(rows):
        change: Changes = {own.get(name, f"{name}.device_batch_size"): size}
        yield {**change, "batch.total_batch_size": tokens_per_step(config)} if name == "evaluate" else change
    if name in ("midtrain", "sft", "rl"):
        yield {"batch.activation_checkpointing": "block"}
    if name == "rl":
        for new in _halves(config.rl.max_new_tokens):
            yield {"rl.device_batch_size": 1, "rl.max_new_tokens": new}


def _halves(size: int) -> Iterator[int]:
    while size > 1:
        size //= 2
        yield size


def _rounded_batch(config: RunConfig) -> Diagnostic | None:
    asked, used = config.batch.total_batch_size, tokens_per_step(config)
    if asked == used:
        return None
    micro, accum = tokens_per_micro_batch(config), grad_accum_steps(config)
    return Diagnostic(
        code="total_batch_rounded",
        message=f"{asked:,} tokens were asked for, which is {asked / micro:.2f} micro-batches of {micro:,}; "
        f"the plan uses {accum} = {used:,}.",
        help=f"set batch.total_batch_size = {used}",
        change={"batch.total_batch_size": used},
    )


def _does_not_fit(config: RunConfig, gpu: Gpu, vram: Memory, compiled: bool, scale: float) -> Diagnostic | None:
    need, have = formatting.sizes(vram.total, gpu.capacity)
    if vram.fits and vram.headroom >= SAFE_HEADROOM:
        return None
    offers = [way for way in ways_to_fit(config, gpu, compiled, scale) if way.fits]
    fix = offers[0].message if offers else "choose a smaller model.depth"
    change = offers[0].change if offers else None
    if vram.fits:
        left = formatting.percent(vram.headroom)
        message = f"{need} of {have} are predicted at the peak ({vram.peak_phase}): {left} are left."
        return Diagnostic(code="tight_memory", message=message, help=fix, change=change)
    message = f"does not fit: {need} are needed at the peak ({vram.peak_phase}), {gpu.name} has {have}."
    return Diagnostic(code="does_not_fit", message=message, help=fix, change=change)


def _few_tokens(config: RunConfig, shape: Shape, tokens: int) -> Diagnostic | None:
    ratio = tokens / shape.params.total
    if ratio >= 0.98 * CHINCHILLA_TOKENS_PER_PARAM:
        return None
    if is_smoke_test(ratio):  # a fix would turn its minutes into hours
        return Diagnostic(
            code="few_tokens_per_param",
            message=smoke_test_words(ratio),
            help="nothing to change for a test; nanosolo plan --hours 12 finds the best model for 12 hours",
            severity="note",
        )
    longer = ", ".join(f"{path} = {value}" for path, value in compute_optimal(config, shape.params.total).items())
    return Diagnostic(
        code="few_tokens_per_param",
        message=f"{per_param(ratio)}; about {CHINCHILLA_TOKENS_PER_PARAM} are compute-optimal, "
        "so a smaller model would reach the same loss with this budget.",
        help=f"train longer ({longer}) or choose a smaller model.depth",
    )


def _short_warmdown(config: RunConfig, steps: int) -> Diagnostic | None:
    if config.optim.warmup_steps < steps:
        return None
    return Diagnostic(
        code="warmup_too_long",
        message=f"optim.warmup_steps = {config.optim.warmup_steps}, but the run has {steps} steps: "
        "the learning rate never reaches its peak.",
        help=f"set optim.warmup_steps = {steps // 10}",
        change={"optim.warmup_steps": steps // 10},
    )


def _more_data_than_there_is(config: RunConfig, tokens: int) -> Diagnostic | None:
    shards = shards_needed(tokens)
    if config.data.source != "fineweb-edu" or shards <= TRAINING_SHARDS:
        return None
    return Diagnostic(
        code="repeated_epochs",
        message=f"the budget needs {shards:,} shards, the corpus has {TRAINING_SHARDS:,}: "
        f"text repeats {shards / TRAINING_SHARDS:.1f} times.",
        help="lower budget.tokens_per_param",
    )


def _no_bfloat16(gpu: Gpu) -> Diagnostic | None:
    if gpu.has_bf16 or not gpu.is_cuda:
        return None
    return Diagnostic(
        code="no_bfloat16",
        message=f"{gpu.name} has no bfloat16 units; training needs them and would be many times slower.",
        help="use an A100 or newer",
    )


def _unknown_speed(gpu: Gpu) -> Diagnostic | None:
    if gpu.peak_flops > 0:
        return None
    return Diagnostic(
        code="unknown_gpu",
        message=f"{gpu.name} is not in the catalog: memory is planned from its capacity, time is not predicted.",
        help="choose a similar GPU with --gpu to see times",
    )


def _optimistic_document(config: RunConfig, time: Duration) -> Diagnostic | None:
    expected = config.about.expected_hours
    if expected is None or time.hours is None or time.low_hours is None or time.high_hours is None:
        return None
    if time.low_hours <= expected[1] and time.high_hours >= expected[0]:
        return None
    return Diagnostic(
        code="expected_hours_differ",
        message=f"the preset's source expects {expected[0]:g}–{expected[1]:g} h; this plan predicts "
        f"{formatting.hours_range(time.low_hours, time.high_hours)} ({time.basis}).",
        help="trust the plan's range; budget.tokens_per_param scales it",
    )
