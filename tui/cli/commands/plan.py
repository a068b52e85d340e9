"""`nanosolo plan` and `--export`: what a configuration means, and the configuration itself."""

import argparse
import sys
from pathlib import Path

import msgspec

from engine.config.commented_toml import to_commented_toml
from engine.config.schema import RunConfig
from engine.core import formatting
from engine.core.atomic_io import write_atomically
from engine.plan import memory_timeline
from engine.plan.duration import compile_seconds
from engine.plan.host_memory import CUDA_PROCESS
from engine.plan.plan import Plan
from engine.plan.shape import shape_of
from engine.run.planning import plan_here
from tui.cli.commands.configuration import configuration
from tui.cli.diagnostic_text import diagnostic_lines
from tui.planning import stage_table

BAR = 40  # characters


def show_plan(options: argparse.Namespace) -> int:
    """Print the plan, for people or as JSON."""
    if options.hours is not None:
        from tui.cli.commands.search import show_search  # a search needs more of the program than a plan

        return show_search(options)
    config = configuration(options).config
    plan = plan_here(config)
    if options.trace:
        return _show_trace(config, plan, options.json)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(plan), indent=2).decode())
    else:
        print("\n".join(plan_lines(plan)))
    return 0


def export(options: argparse.Namespace) -> int:
    """Write the complete configuration as TOML, with a comment per setting."""
    text = to_commented_toml(configuration(options).config)
    if options.export == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(options.export), text.encode())
        print(f"wrote {options.export}. Run it with: nanosolo --config {options.export}", file=sys.stderr)
    return 0


def plan_lines(plan: Plan) -> list[str]:
    """The plan as lines of text. Figures of pretraining are left out where it is not one of the stages."""
    lines = [f"{plan.preset} on {plan.gpu_name} ({plan.gpu})", ""]
    if plan.peak_memory:
        lines += _model_lines(plan)
        if not plan.pretrains:
            lines.append("")
    if plan.pretrains:
        lines += _training_lines(plan)
    elif plan.disk_bytes:
        lines += [_row("data", _data_words(plan)), ""]
    lines += [*_stage_lines(plan), ""]
    if plan.pretrains:
        lines.append(_row("basis", plan.memory.basis))
        if plan.time.basis:
            lines.append(_row("", plan.time.basis))
    else:
        lines += _stage_bases(plan)
    for warning in plan.warnings:
        lines += ["", *diagnostic_lines(warning)]
    return lines


def _model_lines(plan: Plan) -> list[str]:
    return [
        _row("model", f"depth {plan.depth}, width {plan.width}, {plan.heads} heads, vocabulary {plan.vocab_size:,}"),
        _row(
            "parameters", f"{plan.params.total:,}: {plan.params.matrices:,} in matrices, 2 x {plan.params.embedding:,}"
        ),
    ]


def _training_lines(plan: Plan) -> list[str]:
    """Steps, data, time and memory of pretraining."""
    vram = plan.memory
    lines = [
        _row(
            "step",
            f"{plan.device_batch_size} x {plan.max_seq_len:,} x {plan.grad_accum_steps:,} micro-batches "
            f"= {plan.total_batch_size:,} tokens",
        ),
        _row("training", f"{plan.steps:,} steps, {plan.tokens:,} tokens, {plan.tokens_per_param:.3g} per parameter"),
        _row("data", _data_words(plan)),
        _row(
            "checkpoint",
            f"{formatting.size(plan.checkpoint_bytes)}, about {formatting.duration(plan.checkpoint_seconds)} to write",
        ),
        *_stop_lines(plan),
        *_host_lines(plan),
        _row("compute", f"{plan.flops_per_token:.3e} FLOPs per token, {plan.total_flops:.3e} in all"),
        "",
        *_time_lines(plan),
        "",
        _row(
            "memory",
            f"{formatting.size(vram.total)} of {formatting.size(vram.capacity)} at the peak: {vram.peak_phase}",
        ),
    ]
    for name in ("weights", "gradients", "optimizer", "activations", "loss", "overhead"):
        value = getattr(vram, name)
        filled = round(BAR * value / max(vram.capacity, vram.total))
        lines.append(f"  {name:<12} {formatting.size(value):>9}  {'█' * filled}".rstrip())
    left = max(0, vram.capacity - vram.total)
    lines.append(f"  {'free':<12} {formatting.size(left):>9}  {'░' * round(BAR * left / vram.capacity)}".rstrip())
    return [*lines, *_checkpointing_lines(plan), ""]


def _stop_lines(plan: Plan) -> list[str]:
    """How long a stop takes, where that is known."""
    if plan.stop_seconds is None:
        return []
    return [
        _row("stop", f"about {formatting.duration(plan.stop_seconds)} from the signal to the end, checkpoint included")
    ]


def _host_lines(plan: Plan) -> list[str]:
    """What a run on a GPU takes of the host's memory."""
    if plan.gpu == "cpu" or not plan.host_memory:
        return []
    copy = formatting.size(plan.host_memory - CUDA_PROCESS)
    return [_row("host", f"{formatting.size(plan.host_memory)} of memory, {copy} of it pinned for writing checkpoints")]


def _checkpointing_lines(plan: Plan) -> list[str]:
    """What each mode of activation checkpointing would need and cost; the one used is marked."""
    lines = [_row("checkpointing", "peak and step time, by batch.activation_checkpointing")]
    for option in plan.memory_by_checkpointing:
        time = f"x {option.time_factor:.2f}" if option.time_factor is not None else ""
        fits = "" if option.fits else "does not fit  "
        used = "<- used" if option.mode == plan.activation_checkpointing else ""
        lines.append(f"  {option.mode:<12} {formatting.size(option.peak):>9}  {time:<8} {fits}{used}".rstrip())
    return lines


def _stage_lines(plan: Plan) -> list[str]:
    """Every stage with its peak and time, and all together; what stands above is pretraining's."""
    if not plan.stages:
        return ["These stages take seconds, little memory and little disk."]
    cost = f", costs {formatting.money(plan.pipeline.cost)}" if plan.pipeline.cost is not None else ""
    return [
        stage_table.header(),
        *(row.line for row in stage_table.stage_rows(plan)),
        _row("all stages", f"{stage_table.pipeline_range(plan)}{cost}"),
        *(_row("", reason) for reason in stage_table.unknown_reasons(plan)),
    ]


def _stage_bases(plan: Plan) -> list[str]:
    """What the figures of each stage rest on; why a time is not known is said below the table already."""
    bases = [f"{stage.stage}: {stage.time_basis}" for stage in plan.stages if stage.hours is not None]
    bases += [f"{stage.stage}: {stage.memory_basis}" for stage in plan.stages if stage.peak_memory is not None]
    return [_row("" if i else "basis", basis) for i, basis in enumerate(bases)]


def _show_trace(config: RunConfig, plan: Plan, as_json: bool) -> int:
    """Print the bytes that each phase needs, by formula and traced on fake tensors, without overhead."""
    from engine.model.memory_trace import trace_training  # torch costs seconds, and only this needs it

    shape, cuda = shape_of(config), plan.gpu != "cpu"
    mode = plan.activation_checkpointing
    predicted = memory_timeline.phase_peaks(
        memory_timeline.full_timeline(shape, config.batch, mode, cuda, compiled=False)
    )
    traced = trace_training(shape, config.batch, mode, cuda)
    if as_json:
        phases = {phase: {"predicted": predicted[phase], "traced": peak} for phase, peak in traced.peaks.items()}
        print(msgspec.json.format(msgspec.json.encode(phases), indent=2).decode())
        return 0
    print(f"{plan.preset}, checkpointing {mode}, eager, without overhead; traced in {traced.seconds:.1f} s\n")
    print(f"{'phase':<16} {'formula':>10} {'traced':>10} {'error':>8}")
    for phase, peak in traced.peaks.items():
        error = predicted[phase] / peak - 1
        print(f"{phase:<16} {formatting.size(predicted[phase]):>10} {formatting.size(peak):>10} {error:>+8.2%}")
    if plan.compiled:
        compiled = memory_timeline.phase_peaks(
            memory_timeline.full_timeline(shape, config.batch, mode, cuda, compiled=True)
        )
        print(
            "\nThe run is compiled, which cannot be traced; its formula gives "
            f"{formatting.size(max(compiled.values()))}."
        )
    return 0


def _row(label: str, text: str) -> str:
    return f"{label:<12} {text}"


def _data_words(plan: Plan) -> str:
    """What these stages leave on the disk."""
    shards = f"{plan.data_shards} shards, " if plan.disk.shards else ""
    parts = [f"{name} {formatting.size(size)}" for name, size in msgspec.structs.asdict(plan.disk).items() if size]
    listed = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    purpose = f", enough for {plan.tokens:,} training tokens" if not plan.pretrains and plan.disk_bytes else ""
    return f"{shards}{formatting.size(plan.disk_bytes)} on disk{listed}{purpose}"


def _time_lines(plan: Plan) -> list[str]:
    time = plan.time
    if time.hours is None or time.low_hours is None or time.high_hours is None:
        return [_row("time", "not predicted")]
    low, mid, high = (formatting.hours(hours) for hours in (time.low_hours, time.hours, time.high_hours))
    mfu = f", MFU {formatting.percent(time.mfu)}" if time.mfu is not None else ""
    lines = [
        _row("time", f"{mid} (from {low} to {high})"),
        _row("speed", f"{formatting.count(time.tokens_per_second)} tokens/s{mfu}"),
    ]
    if plan.compiled:
        cold, warm = (compile_seconds(plan.depth, warm) for warm in (False, True))
        first = f"{formatting.duration(cold)} before the first step, {formatting.duration(warm)} where the cache has it"
        lines.append(_row("compile", f"{first}; by depth, an estimate"))
    if plan.expected_hours:
        lines.append(_row("", f"the preset's source expects {plan.expected_hours[0]:g}–{plan.expected_hours[1]:g} h"))
    if time.cost is not None:
        lines.append(_row("cost", formatting.money(time.cost)))
    if time.energy_kwh is not None:
        lines.append(_row("energy", f"at most {time.energy_kwh:.1f} kWh"))
    return lines
