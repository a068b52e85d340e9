"""report.md: what a run was asked to do, what was predicted, what came of it."""

import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from engine import __version__
from engine.files import write_atomically
from engine.plan.config import Layer, RunConfig, fields, get, resolve, to_toml
from engine.plan.plan import Plan
from engine.plan.presets import load_preset, preset_names
from engine.run import words
from engine.run.curves import draw_curves
from engine.run.directory import RunDirectory
from engine.run.history import History, StepColumns, read_history
from engine.run.scores import scores
from engine.run.stage import StageContext

CURVES = "curves.svg"
CURVE_ROWS = 12
STAGE = "pretrain"


def write_report(context: StageContext) -> None:
    """The report stage."""
    render(context.run)


def render(run: RunDirectory) -> str:
    """Write report.md and its picture into the run, and return its text. Raises NanosoloError."""
    history = read_history(run.events_file)
    columns = history.columns(STAGE)
    drawn = draw_curves(columns, history.evaluations, run.path / CURVES) if len(columns) else False
    text = "\n".join(_lines(run, run.config(), run.plan(), history, facts(run, history), drawn))
    write_atomically(run.report_file, text.encode())
    return text


def facts(run: RunDirectory, history: History | None = None) -> dict[str, Any]:
    """The figures of the report: results, and each prediction beside its measurement."""
    history = history or read_history(run.events_file)
    columns = history.columns(STAGE)
    plan = run.plan()
    bpb = [e for e in history.evaluations if e.metric == "val_bpb"]
    train = history.latest("train_bpb")
    stage = history.stages.get(STAGE)
    return {
        "name": run.name,
        "outcome": history.ended.outcome if history.ended else None,
        "steps": columns.step[-1] if columns else 0,
        "planned_steps": plan.steps if plan else None,
        "tokens": columns.tokens[-1] if columns else 0,
        "final_loss": _mean_tail(columns.loss) if columns else None,
        "val_bpb_start": bpb[0].value if bpb and bpb[0].step == 0 else None,
        "val_bpb": bpb[-1].value if bpb else None,
        "train_bpb": train.value if train else None,
        "stage_seconds": {s.stage: s.ended.seconds for s in history.stages.values() if s.ended},
        "predicted": _predicted(plan),
        "measured": _measured(columns, stage.ended.seconds if stage and stage.ended else None),
        "throughput": _throughput(columns),
        "resumes": len(history.resumes),
        "out_of_memory": len(history.out_of_memory),
    }


def _predicted(plan: Plan | None) -> dict[str, float | None]:
    if plan is None:
        return {}
    t = plan.time
    return {
        "tokens_per_second": t.tokens_per_second,
        "step_seconds": t.step_seconds,
        "hours": t.hours,
        "mfu": t.mfu,
        # what is measured: torch's allocations on a GPU, the whole process on a CPU
        "peak_memory": plan.memory.total - (plan.memory.overhead if plan.gpu != "cpu" else 0),
    }


def _measured(columns: StepColumns, seconds: float | None) -> dict[str, float | None]:
    if len(columns) < 2:
        return {}
    # the first step compiles or warms up: it is not what the prediction is about
    mfu = [value for value in columns.mfu[1:] if not math.isnan(value)]
    peaks = [value for value in columns.peak_memory if not math.isnan(value)]
    return {
        "tokens_per_second": statistics.median(columns.tokens_per_second[1:]),
        "step_seconds": statistics.median(columns.step_seconds[1:]),
        "hours": seconds / 3600 if seconds is not None else None,
        "mfu": statistics.median(mfu) if mfu else None,
        "peak_memory": max(peaks) if peaks else None,
    }


def _throughput(columns: StepColumns) -> dict[str, float]:
    if len(columns) < 3:
        return {}
    rates = sorted(columns.tokens_per_second[1:])
    seconds = sum(columns.step_seconds[1:])
    waiting = sum(columns.data_seconds[1:]) / seconds if seconds > 0 else 0.0
    return {
        "median": statistics.median(rates),
        "p10": rates[len(rates) // 10],
        "p90": rates[len(rates) * 9 // 10],
        "data_wait_share": waiting,
    }


def _lines(
    run: RunDirectory, config: RunConfig, plan: Plan | None, history: History, found: dict[str, Any], drawn: bool
) -> list[str]:
    return [
        f"# {run.name}",
        "",
        _summary(config, found),
        "",
        *_result_lines(found),
        *_comparison_lines(found, plan),
        *_curve_lines(history, drawn),
        *_score_lines(history),
        *_sample_lines(history),
        *_configuration_lines(run, config),
        *_machine_lines(history),
    ]


def _summary(config: RunConfig, found: dict[str, Any]) -> str:
    took = words.duration(sum(found["stage_seconds"].values()))
    outcome = {"done": "finished", None: "not finished yet"}.get(found["outcome"], found["outcome"])
    return (
        f"Preset {config.about.preset}, depth {config.model.depth}: {outcome}. {found['steps']:,} steps of "
        f"pretraining on {words.count(found['tokens'])} tokens; the stages took {took} in all. "
        f"Written {time.strftime('%Y-%m-%d %H:%M %Z')} by nanosolo {__version__}."
    )


def _result_lines(found: dict[str, Any]) -> list[str]:
    rows = [
        ("validation bits per byte, before training", _figure(found["val_bpb_start"])),
        ("validation bits per byte, at the end", _figure(found["val_bpb"])),
        ("training bits per byte, at the end", _figure(found["train_bpb"])),
        ("training loss at the end, nats per token", _figure(found["final_loss"])),
        *((f"stage {stage}", words.duration(seconds)) for stage, seconds in found["stage_seconds"].items()),
        ("resumed", f"{found['resumes']} times"),
        ("ran out of memory", f"{found['out_of_memory']} times"),
    ]
    return ["## Result", "", *_table(("what", "value"), rows), ""]


def _comparison_lines(found: dict[str, Any], plan: Plan | None) -> list[str]:
    predicted, measured = found["predicted"], found["measured"]
    if plan is None or not measured:
        return []
    show: dict[str, tuple[str, Callable[[float], str]]] = {
        "tokens_per_second": ("tokens per second, median", words.count),
        "step_seconds": ("seconds per step, median", words.duration),
        "hours": ("pretraining, wall clock", lambda hours: words.duration(hours * 3600)),
        "mfu": ("MFU, median", words.percent),
        "peak_memory": ("peak memory", words.size),
    }
    rows = [
        (label, _show(word, predicted.get(key)), _show(word, measured.get(key)), _ratio(predicted, measured, key))
        for key, (label, word) in show.items()
    ]
    throughput = found["throughput"]
    spread = (
        f"Throughput: median {words.count(throughput['median'])} tokens/s, from {words.count(throughput['p10'])} (10th "
        f"percentile) to {words.count(throughput['p90'])} (90th); {words.percent(throughput['data_wait_share'], 1)} "
        "of the time went on waiting for data."
        if throughput
        else "Too few steps to speak of throughput."
    )
    heads = ("what", "predicted", "measured", "measured / predicted")
    basis = f"Basis of the predictions: {plan.time.basis}; {plan.memory.basis}."
    return ["## Predicted against measured", "", *_table(heads, rows), "", basis, "", spread, ""]


def _curve_lines(history: History, drawn: bool) -> list[str]:
    columns = history.columns(STAGE)
    if not len(columns):
        return []
    bpb = {e.step: e.value for e in history.evaluations if e.metric == "val_bpb"}
    marks = sorted({round(i * (len(columns) - 1) / (CURVE_ROWS - 1)) for i in range(CURVE_ROWS)})
    rows = []
    for begin, end in zip([0, *(mark + 1 for mark in marks)], marks, strict=False):
        window = [value for value in columns.loss[begin : end + 1] if not math.isnan(value)]
        since = columns.step[begin] if begin < len(columns) else 0
        until = columns.step[end]
        measured = [bpb[step] for step in sorted(bpb) if since <= step <= until]
        rows.append(
            (
                f"{until:,}",
                words.count(columns.tokens[end]),
                _figure(statistics.fmean(window) if window else None),
                _figure(measured[-1] if measured else None),
            )
        )
    picture = [f"![loss, bits per byte and throughput]({CURVES})", ""] if drawn else []
    heads = ("step", "tokens", "loss, mean since the row above", "validation bits per byte")
    return ["## Loss", "", *picture, *_table(heads, rows), ""]


def _score_lines(history: History) -> list[str]:
    rows = [
        (score.name, _figure(score.value), _figure(score.baseline), _figure(score.centred), f"{score.examples:,}")
        for score in scores(history.evaluations)
    ]
    heads = ("task", "accuracy", "by guessing", "centred", "examples")
    return ["## Evaluations", "", *_table(heads, rows), ""] if rows else []


def _sample_lines(history: History) -> list[str]:
    if not history.samples:
        return []
    lines = ["## Samples", ""]
    last = history.samples[-1].step
    for sample in {s.prompt: s for s in history.samples if s.step == last}.values():
        lines += [f"After step {sample.step:,}, continuing the words before the bar:", "", "```text"]
        lines += [f"{sample.prompt}|{sample.text}".replace("```", "'''"), "```", ""]
    return lines


def _configuration_lines(run: RunDirectory, config: RunConfig) -> list[str]:
    return [
        "## Configuration",
        "",
        *_changes(config),
        "```toml",
        to_toml(config).rstrip(),
        "```",
        "",
        f"Repeat it with `nanosolo --config {run.config_file.name}` in the run's directory.",
        "",
    ]


def _changes(config: RunConfig) -> list[str]:
    """How the configuration differs from the preset it names."""
    name = config.about.preset
    if name not in preset_names():
        return []
    preset = resolve(Layer("preset", load_preset(name))).config
    rows = [
        (f"`{path}`", f"`{get(preset, path)}`", f"`{get(config, path)}`")
        for path, _ in fields()
        if get(preset, path) != get(config, path)
    ]
    if not rows:
        return [f"As in the preset {name}.", ""]
    return [*_table(("setting", f"preset {name}", "this run"), rows), ""]


def _machine_lines(history: History) -> list[str]:
    device = history.devices.get(STAGE)
    rows = [
        ("nanosolo", __version__),
        ("Python", platform.python_version()),
        ("torch", device.torch if device else metadata.version("torch")),
        ("platform", platform.platform()),
        ("device", device.name if device else "not known"),
        ("compiled", "yes" if device and device.compiled else "no"),
        ("host", history.started.host if history.started else "not known"),
    ]
    return ["## Machine and versions", "", *_table(("what", "value"), rows), ""]


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    cells = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (heads, *rows)]
    return [cells[0], "|" + " --- |" * len(heads), *cells[1:]]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _show(word: Any, value: float | None) -> str:
    return "-" if value is None else str(word(value))


def _ratio(predicted: dict[str, float | None], measured: dict[str, float | None], key: str) -> str:
    before, after = predicted.get(key), measured.get(key)
    return "-" if not before or after is None else f"{after / before:.2f}"


def _mean_tail(losses: Any) -> float | None:
    tail = [value for value in losses[-20:] if not math.isnan(value)]
    return statistics.fmean(tail) if tail else None
