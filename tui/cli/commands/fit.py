"""`nanosolo fit`: which batch fits and which is fastest, first by the model, then measured in short-lived processes."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from engine.autotune import fitting
from engine.autotune.fitting import Trial
from engine.config.layers import to_toml, with_changes
from engine.config.schema import RunConfig, get
from engine.core import formatting
from engine.core.atomic_io import write_atomically
from engine.core.errors import EXIT_DONE, EXIT_OUT_OF_MEMORY, NanosoloError, UsageError
from engine.diagnostics.device_checks import ANNOUNCEMENT, device_fault
from engine.hardware.detect import detect_gpu, device_for
from engine.hardware.gpu_catalog import Gpu
from engine.plan import budget_search
from engine.plan.plan import uses_compile
from engine.run.calibration_store import read_calibration, record
from tui.cli.commands.configuration import configuration

TRIAL_HEADS = "depth batch tokens checkpointing      peak  predicted  tokens/s  predicted"
UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def fit(options: argparse.Namespace) -> int:
    """Print the table of predictions, then that of the trials, where this machine is the one that is planned for."""
    config = configuration(options).config
    limit = parse_size(options.limit) if options.limit else None
    gpu = _device(config, limit)
    found = budget_search.fits(config, gpu, read_calibration(gpu))
    chosen = budget_search.sweet_spot(found)
    tell = (lambda _line: None) if options.json else (lambda line: print(line, flush=True))
    for line in _predicted_lines(config, gpu, found, chosen):
        tell(line)
    trials: list[Trial] = []
    why_not = _why_not_tried(options, config, limit)
    if why_not:
        tell(f"\n{why_not}")
    else:
        tell("")
        trials = _try(options, config, gpu, limit, chosen, tell)
    best = fitting.best_of([t for t in trials if t.config.model == config.model], gpu.capacity)
    if best is not None:
        chosen = best.predicted
        tell(f"\nsweet spot: {_words_of(chosen)}, {formatting.count(best.finding.tokens_per_second)} tokens/s measured")
    if options.json:
        answer = msgspec.json.encode(_as_json(gpu, found, chosen, trials, why_not))
        print(msgspec.json.format(answer, indent=2).decode())
    if chosen is None:
        raise NanosoloError("no batch fits. Choose a smaller model.depth or model.max_seq_len.")
    if options.write:
        write_atomically(Path(options.write), to_toml(adopt(config, chosen)).encode())
        print(f"wrote {options.write}. Run it with: nanosolo --config {options.write}", file=sys.stderr)
    return EXIT_OUT_OF_MEMORY if trials and best is None else EXIT_DONE


def adopt(config: RunConfig, chosen: budget_search.Fit) -> RunConfig:
    """The configuration with this batch, and a step of as many tokens as before."""
    return with_changes(config, {**chosen.change, "batch.total_batch_size": budget_search.tokens_per_step(config)})


def parse_size(text: str) -> int:
    """Bytes of `2GiB`, `800M`, `1.5g` or a plain number. Raises UsageError."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    if found is None or float(found[1]) <= 0:
        raise UsageError(f"--limit {text}: expected a size of memory, for example 2GiB or 800MiB")
    return int(float(found[1]) * UNITS[found[2]])


def _device(config: RunConfig, limit: int | None) -> Gpu:
    """The device to plan for, with no more memory than is allowed."""
    gpu = device_for(config)
    return gpu if limit is None else msgspec.structs.replace(gpu, capacity=min(limit, gpu.capacity))


def _why_not_tried(options: argparse.Namespace, config: RunConfig, limit: int | None) -> str:
    """Why nothing is measured here; empty where it is."""
    if options.predict:
        return "predicted only, as requested"
    named, here = config.runtime.gpu, detect_gpu()
    on_cpu = named == "cpu" or config.runtime.device == "cpu" or (named == "auto" and here is None)
    if on_cpu:
        return "" if limit is not None or options.ladder else "predicted only: on a CPU, try it with --limit 2GiB"
    if here is None:
        return f"predicted only: this machine has no NVIDIA GPU; this is for {named}"
    if named not in ("auto", here.id):
        return f"predicted only: this machine has {here.name}, not {named}. Fit for the card that is here: --gpu auto"
    return ""


def _try(
    options: argparse.Namespace,
    config: RunConfig,
    gpu: Gpu,
    limit: int | None,
    chosen: budget_search.Fit | None,
    tell: Any,
) -> list[Trial]:
    """Try out, print and keep what is found, in the order in which it is tried."""
    asked = config.batch.activation_checkpointing
    mode = chosen.activation_checkpointing if chosen is not None else "block"
    if get(RunConfig(), "batch.activation_checkpointing") != asked and asked != "auto":
        mode = asked  # somebody chose it
    steps = options.iterations
    if options.ladder:
        rungs = fitting.ladder(config)
        tries = fitting.until_it_fails(rungs, gpu, mode, steps or fitting.LADDER_STEPS, limit, options.patience)
    else:
        tries = fitting.climb(config, gpu, mode, steps or 3, limit, options.patience)
    _require_device(config, gpu)
    tell(TRIAL_HEADS)
    trials = []
    for trial in tries:
        trials.append(trial)
        tell(_trial_line(trial))
        if trial.finding.outcome == "done":
            record(device_for(config), fitting.measurement(trial, device_for(config)))
    return trials


def _require_device(config: RunConfig, gpu: Gpu) -> None:
    """Try the GPU once, so that its fault is reported as such. Raises UsageError."""
    if gpu.is_cuda:
        print(ANNOUNCEMENT, file=sys.stderr, flush=True)
        fault = device_fault("cuda", uses_compile(config, gpu))
        if fault is not None:
            raise UsageError(f"device: {fault}")


def _trial_line(trial: Trial) -> str:
    model, finding = trial.config.model, trial.finding
    head = f"{model.depth:>5} {trial.size:>5} {model.max_seq_len:>6} {trial.mode:<13}"
    if finding.outcome != "done":
        why = {"out_of_memory": "out of memory", "too_slow": "too slow; see --patience"}[finding.outcome]
        return f"{head} {why}, predicted {formatting.size(trial.predicted.peak)}"
    return (
        f"{head} {formatting.size(trial.peak):>9} {formatting.size(trial.predicted.peak):>10} "
        f"{formatting.count(finding.tokens_per_second):>9} {formatting.count(trial.predicted.tokens_per_second):>10}"
    )


def _predicted_lines(
    config: RunConfig, gpu: Gpu, found: list[budget_search.Fit], chosen: budget_search.Fit | None
) -> list[str]:
    per_step = budget_search.tokens_per_step(config)
    lines = [
        f"depth {config.model.depth}, {config.model.max_seq_len:,} tokens, {per_step:,} tokens per step on {gpu.name} "
        f"with {formatting.size(gpu.capacity)}, {'compiled' if uses_compile(config, gpu) else 'eager'}",
        "",
        f"{'batch':>5} {'checkpointing':<13} {'peak':>9} {'left':>6} {'tokens/s':>9}",
    ]
    for fit in _worth_showing(found):
        left = formatting.percent(fit.headroom) if fit.fits else "none"
        mark = " <- sweet spot" if fit == chosen else "" if fit.safe else " tight" if fit.fits else " does not fit"
        lines.append(
            f"{fit.device_batch_size:>5} {fit.activation_checkpointing:<13} {formatting.size(fit.peak):>9} {left:>6} "
            f"{formatting.count(fit.tokens_per_second):>9}{mark}"
        )
    largest = budget_search.largest_batch(config)
    if largest is not None and chosen is not None and chosen.device_batch_size == largest[0]:
        lines.append(_why_no_larger(config, *largest))
    return lines


def _why_no_larger(config: RunConfig, largest: int, pieces: int) -> str:
    """Why the table ends at a batch though memory is left."""
    per_step = budget_search.tokens_per_step(config)
    twice = 2 * largest * config.model.max_seq_len
    if pieces == 1:
        return (
            f"batches end at {largest}, which is the whole step; for {2 * largest} set batch.total_batch_size = {twice}"
        )
    return (
        f"batches end at {largest}: the {per_step:,} tokens of a step are {pieces} of it, an odd number; for "
        f"{2 * largest} set batch.total_batch_size = {round(per_step / twice) * twice}"
    )


def _worth_showing(found: list[budget_search.Fit]) -> list[budget_search.Fit]:
    """Those that fit, and the first of each mode that does not."""
    shown: list[budget_search.Fit] = []
    for fit in found:
        last = shown[-1] if shown else None
        if last is None or last.fits or last.activation_checkpointing != fit.activation_checkpointing:
            shown.append(fit)
    return shown


def _words_of(fit: budget_search.Fit) -> str:
    return f"device_batch_size {fit.device_batch_size}, activation_checkpointing {fit.activation_checkpointing}"


def _as_json(
    gpu: Gpu, found: list[budget_search.Fit], chosen: budget_search.Fit | None, trials: list[Trial], why_not: str
) -> dict[str, Any]:
    return {
        "gpu": gpu.id,
        "capacity": gpu.capacity,
        "predicted": found,
        "sweet_spot": chosen,
        "not_tried": why_not or None,
        "trials": [
            {
                "depth": trial.config.model.depth,
                "max_seq_len": trial.config.model.max_seq_len,
                "device_batch_size": trial.size,
                "activation_checkpointing": trial.mode,
                "outcome": trial.finding.outcome,
                "peak": trial.peak,
                "predicted_peak": trial.predicted.peak,
                "tokens_per_second": trial.finding.tokens_per_second,
                "predicted_tokens_per_second": trial.predicted.tokens_per_second,
            }
            for trial in trials
        ],
    }
