"""The figures of a plan, each as text, with its formula and the values filled in."""

from collections.abc import Iterator
from typing import NamedTuple

from engine.config.schema import RunConfig
from engine.core import formatting
from engine.hardware.gpu_catalog import Gpu
from engine.plan.dataset_facts import BYTES_PER_TOKEN, CHARS_PER_SHARD, CHARS_PER_TOKEN, SHARD_BYTES, TRAINING_SHARDS
from engine.plan.memory import ALLOCATOR_SLACK, COMPONENTS
from engine.plan.plan import Plan
from tui.planning.stage_table import NOT_KNOWN, stage_rows

LETTERS = {"weights": "W", "gradients": "G", "optimizer": "O", "activations": "A", "loss": "L", "overhead": "+"}
MODE_KEY = "mode."  # prefix of the keys of checkpointing modes
STAGE_KEY = "stage."  # prefix of the keys of stages


class Figure(NamedTuple):
    """One derived number."""

    key: str
    group: str
    label: str
    value: str
    note: str  # shown next to the value if it fits
    formula: str  # with its values filled in


def figures(config: RunConfig, gpu: Gpu, plan: Plan) -> list[Figure]:
    """All figures of a plan, in display order."""
    return [
        *_step(config, plan),
        *_budget(config, plan),
        *_memory(config, gpu, plan),
        *_time(config, gpu, plan),
        *_checkpointing(plan),
        *_stages(plan),
    ]


def _step(config: RunConfig, plan: Plan) -> Iterator[Figure]:
    p, d, depth = plan.params, plan.width, plan.depth
    yield Figure(
        "params",
        "step",
        "parameters",
        formatting.count(p.total),
        f"width {d}",
        f"{p.total:,} = 12 × {depth} blocks × {d}² + 2 × vocabulary {plan.vocab_size:,} × {d}",
    )
    micro = plan.tokens_per_micro_batch
    asked = plan.requested_total_batch_size
    yield Figure(
        "accum",
        "step",
        "accumulation",
        f"{plan.grad_accum_steps} × {micro:,}",
        "",
        f"{plan.grad_accum_steps} = {asked:,} tokens requested / ({plan.device_batch_size} sequences × "
        f"{plan.max_seq_len:,} tokens), rounded to whole micro-batches",
    )
    rounded = "exact" if asked == plan.total_batch_size else f"requested {asked:,}"
    yield Figure(
        "per_step",
        "step",
        "tokens per step",
        f"{plan.total_batch_size:,}",
        rounded,
        f"{plan.total_batch_size:,} = {_micro_batches(plan)} of {micro:,} tokens; {rounded}",
    )


def _micro_batches(plan: Plan) -> str:
    return "1 micro-batch" if plan.grad_accum_steps == 1 else f"{plan.grad_accum_steps} micro-batches"


def _budget(config: RunConfig, plan: Plan) -> Iterator[Figure]:
    budget = config.budget
    per_step, wanted = plan.total_batch_size, config.budget.tokens
    if budget.steps is not None:
        steps = f"{plan.steps:,}, set by budget.steps"
    elif wanted is not None:
        steps = f"{plan.steps:,} = {wanted:,} tokens / {per_step:,} per step, rounded up"
    else:
        steps = (
            f"{plan.steps:,} = {budget.tokens_per_param:g} tokens × {plan.params.total:,} parameters / "
            f"{per_step:,} per step, rounded up"
        )
    yield Figure("steps", "budget", "steps", f"{plan.steps:,}", "", steps)
    yield Figure(
        "tokens",
        "budget",
        "training tokens",
        formatting.count(plan.tokens),
        f"{plan.tokens_per_param:.3g} per parameter",
        f"{plan.tokens:,} = {plan.steps:,} steps × {per_step:,}; "
        f"{plan.tokens_per_param:.3g} per parameter with {formatting.count(plan.params.total)} parameters",
    )
    if plan.data_shards:
        chars = CHARS_PER_SHARD / 1e6
        yield Figure(
            "shards",
            "budget",
            "data shards",
            f"{plan.data_shards:,}",
            formatting.size(plan.disk.shards),
            f"{plan.data_shards:,} = {formatting.count(plan.tokens)} tokens × {CHARS_PER_TOKEN} characters / "
            f"{chars:.0f}M per shard + 1 for validation; {SHARD_BYTES / 1e6:.0f} MB each, {TRAINING_SHARDS:,} in total",
        )
    disk = plan.disk
    held = f"{disk.checkpoints // plan.checkpoint_bytes} checkpoints of {formatting.size(plan.checkpoint_bytes)}"
    yield Figure(
        "disk",
        "budget",
        "disk",
        formatting.size(plan.disk_bytes),
        "",
        f"{formatting.size(plan.disk_bytes)} = shards {formatting.size(disk.shards)} + tokens at "
        f"{BYTES_PER_TOKEN} bytes {formatting.size(disk.tokens)} + {held}",
    )


def _memory(config: RunConfig, gpu: Gpu, plan: Plan) -> Iterator[Figure]:
    memory = plan.memory
    parts = " + ".join(f"{name} {formatting.size(getattr(memory, name))}" for name in COMPONENTS)
    yield Figure(
        "memory",
        "memory",
        "VRAM" if gpu.is_cuda else "memory",
        formatting.part_of(memory.total, memory.capacity),
        formatting.percent(memory.total / memory.capacity),
        f"{formatting.size(memory.total)} = {parts}; peak in {memory.peak_phase}. Basis: {memory.basis}",
    )
    for name in COMPONENTS:
        yield Figure(
            name,
            "components",
            name,
            formatting.size(getattr(memory, name)),
            "",
            f"{name} {formatting.size(getattr(memory, name))}: {_component(name, config, gpu, plan)}",
        )


def _component(name: str, config: RunConfig, gpu: Gpu, plan: Plan) -> str:
    """The parts of one component. Source of the coefficients: docs/memory.md."""
    p, wide = plan.params, 2 if gpu.is_cuda else 4
    batch = config.batch
    tokens = plan.tokens_per_micro_batch
    match name:
        case "weights":
            return f"4 bytes × ({p.matrices:,} in matrices + {p.lm_head:,} in the head) + {wide} × {p.embedding:,}"
        case "gradients":
            if not plan.memory.gradients:
                return f"no gradients are in memory at the peak ({plan.memory.peak_phase})"
            return f"as large as the weights, kept while {_micro_batches(plan)} accumulate"
        case "optimizer":
            return (
                f"Muon 4 bytes × {p.matrices:,} + AdamW 8 × {p.lm_head:,} for the head + {2 * wide} × {p.embedding:,}"
            )
        case "activations":
            each = plan.memory.activations / (plan.depth * wide * tokens * plan.width)
            return (
                f"{each:.1f} × {wide} bytes × {tokens:,} tokens × {plan.width} × {plan.depth} blocks, average in "
                f"{plan.memory.peak_phase}; checkpointing {plan.activation_checkpointing}"
            )
        case "loss":
            if not plan.memory.loss:
                return f"no logits are in memory at the peak ({plan.memory.peak_phase})"
            size = min(batch.loss_chunk_tokens, tokens) if batch.loss == "chunked" else tokens
            return (
                f"logits of {size:,} tokens × vocabulary {plan.vocab_size:,}, with their gradients and that of the head"
            )
    if not gpu.is_cuda:
        return "torch libraries and the Python interpreter"
    slack = ALLOCATOR_SLACK[plan.activation_checkpointing]
    return f"CUDA context and kernels 1 GiB, allocator slack {formatting.percent(slack)} of the rest"


def _checkpointing(plan: Plan) -> Iterator[Figure]:
    """The basis of the figures; the memory and time of each checkpointing mode, fastest first."""
    yield Figure(
        "basis", "basis", "basis", plan.time.basis, "", f"Time: {plan.time.basis}. Memory: {plan.memory.basis}"
    )
    most = plan.memory_by_checkpointing[0]
    for option in plan.memory_by_checkpointing:
        used = option.mode == plan.activation_checkpointing
        slower = (option.time_factor or 1.0) - 1.0
        time = f"+{formatting.percent(slower)} time" if slower else ""
        notes = (time, "" if option.fits else "does not fit", "◂ used" if used else "")
        saved = (
            f", {formatting.size(most.peak - option.peak)} less than without checkpointing"
            if option is not most
            else ""
        )
        cost = f"; recomputation makes a step {formatting.percent(slower)} longer" if slower else ""
        enter = "" if used else ". Press Enter to use it"
        yield Figure(
            MODE_KEY + option.mode,
            "modes",
            option.mode,
            formatting.size(option.peak),
            "  ".join(note for note in notes if note),
            f"checkpointing {option.mode}: {formatting.size(option.peak)} at the peak{saved}{cost}{enter}",
        )


def _time(config: RunConfig, gpu: Gpu, plan: Plan) -> Iterator[Figure]:
    time = plan.time
    if time.hours is None or time.tokens_per_second is None:
        yield Figure("time", "time", "time", NOT_KNOWN, "", time.basis)
        yield _pipeline(plan)
        return
    low, high = (formatting.hours(hours or 0) for hours in (time.low_hours, time.high_hours))
    parts = " + ".join(f"{name} {formatting.duration(seconds)}" for name, seconds in time.parts.items() if seconds)
    stop = f". Stopping takes about {formatting.duration(plan.stop_seconds)}" if plan.stop_seconds is not None else ""
    yield Figure(
        "time",
        "time",
        "time",
        time_range(plan),
        f"costs {formatting.money(time.cost)}" if time.cost is not None else "",
        f"{low} to {high}, estimate {formatting.duration(3600 * time.hours)} = {parts}. Basis: {time.basis}{stop}",
    )
    yield _pipeline(plan)
    yield Figure(
        "speed",
        "time",
        "tokens/s",
        f"{time.tokens_per_second:,.0f}",
        f"MFU {formatting.percent(time.mfu)}" if time.mfu is not None else "",
        _speed(gpu, plan),
    )
    if time.energy_kwh is not None:
        yield Figure(
            "energy",
            "time",
            "energy",
            f"{time.energy_kwh:,.1f} kWh",
            "",
            f"{time.energy_kwh:,.1f} kWh = {gpu.watts} W (board limit) × {formatting.hours(time.hours)}",
        )
    if time.cost is not None:
        price = config.runtime.price_per_hour
        yield Figure(
            "cost",
            "time",
            "cost",
            formatting.money(time.cost),
            "",
            f"{formatting.money(time.cost)} = {price:g} per hour × {formatting.hours(time.hours)}",
        )


def _speed(gpu: Gpu, plan: Plan) -> str:
    time = plan.time
    if time.mfu is None:
        return f"{time.tokens_per_second:,.0f} tokens/s. Basis: {time.basis}"
    return (
        f"{time.tokens_per_second:,.0f} = {formatting.percent(time.mfu, 1)} of {gpu.peak_flops / 1e12:,.3g} TFLOP/s / "
        f"{plan.flops_per_token / 1e9:,.3g} GFLOP per token"
    )


def time_range(plan: Plan) -> str:
    """The predicted range of pretraining in one unit: `9.6–12.8 h`, `4–6 min`."""
    return formatting.hours_range(plan.time.low_hours, plan.time.high_hours)


def _pipeline(plan: Plan) -> Figure:
    """The figure for all stages together."""
    whole = plan.pipeline
    parts = " + ".join(
        f"{stage.stage} {formatting.duration(3600 * stage.hours)}" for stage in plan.stages if stage.hours is not None
    )
    without = f"; without {', '.join(whole.uncounted)} (time not known)" if whole.uncounted else ""
    price = f"; costs {formatting.money(whole.cost)}" if whole.cost is not None else ""
    estimate = formatting.duration(3600 * whole.hours) if whole.hours is not None else NOT_KNOWN
    return Figure(
        "pipeline",
        "time",
        "all stages",
        formatting.hours_range(whole.low_hours, whole.high_hours),
        f"costs {formatting.money(whole.cost)}" if whole.cost is not None else "",
        f"{estimate} = {parts}{without}{price}",
    )


def _stages(plan: Plan) -> Iterator[Figure]:
    for stage, row in zip(plan.stages, stage_rows(plan), strict=True):
        work = [f"{row.steps} steps"] * (stage.steps is not None) + [f"{row.tokens} tokens"] * (
            stage.tokens is not None
        )
        peak = [f"peak in {stage.peak_phase}"] * (stage.peak_memory is not None)
        yield Figure(
            STAGE_KEY + stage.stage,
            "stages",
            stage.stage,
            row.peak,
            row.time if row.fits else f"{row.time}  does not fit",
            f"{stage.stage}: {'; '.join([*work, *peak, row.basis])}",
        )
