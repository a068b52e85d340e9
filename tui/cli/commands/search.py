"""`nanosolo plan --hours`: the best model for a time budget on one GPU."""

import argparse
import shlex
from typing import Any

import msgspec

from engine.config.layers import Layer, resolve, with_changes
from engine.config.schema import RunConfig
from engine.core import formatting
from engine.core.errors import EXIT_DONE, UsageError
from engine.hardware.detect import planned_device
from engine.hardware.gpu_catalog import Gpu
from engine.plan import budget_search, scaling
from engine.plan.budget_search import Candidate
from engine.plan.plan import Plan, make_plan
from engine.run.calibration_store import read_calibration
from tui.cli.commands.configuration import configuration, flags
from tui.planning.budget_table import cells_of, header, law_line, loss_text, mark_of, table_row, worth_showing
from tui.planning.stage_table import pipeline_range


def show_search(options: argparse.Namespace) -> int:
    """Print the candidates, the best first, for people or as JSON."""
    if not options.hours > 0:
        raise UsageError(f"--hours {options.hours:g}: expected a time above 0, for example --hours 12")
    named = options.preset or options.config or options.set
    config = configuration(options).config if named else resolve(Layer("flag", flags(options))).config
    gpu, here = planned_device(config)
    if gpu.peak_flops <= 0:
        raise UsageError(f"{gpu.name} is not in the catalogue, so its speed is not known. Name a similar one: --gpu ID")
    found = budget_search.candidates(config, gpu, options.hours, calibration=read_calibration(gpu))
    other = here if here is not None and gpu.is_cuda and here.id != gpu.id else None
    if options.json:
        answer = msgspec.json.encode(_as_json(config, gpu, here, options.hours, found))
        print(msgspec.json.format(answer, indent=2).decode())
    else:
        lines = [*_lines(config, gpu, options.hours, found), *_adopt_lines(options, config, found)]
        if other is not None:
            lines += ["", *_other_card_lines(config, gpu, other, options.hours)]
        print("\n".join(lines))
    return EXIT_DONE


def _other_card_lines(config: RunConfig, gpu: Gpu, here: Gpu, hours: float) -> list[str]:
    """What the best is on the card that is here, where that is not the one that was planned for."""
    message = f"this machine has {here.name}; these models are for {gpu.name}."
    if here.peak_flops > 0:
        best = budget_search.best(budget_search.candidates(config, here, hours, calibration=read_calibration(here)))
        what = (
            "no model trains"
            if best is None
            else f"the best is depth {best.depth} on {formatting.count(best.tokens)} tokens"
        )
        message = f"this machine has {here.name}, where {what} in {hours:g} h; these models are for {gpu.name}."
    return [f"! {message}", "  search for the card that is here: --gpu auto"]


def _plan_of(config: RunConfig, gpu: Gpu, candidate: Candidate) -> Plan:
    return make_plan(with_changes(config, {**candidate.change, "budget.tokens": None}), gpu, read_calibration(gpu))


def _stages_line(plan: Plan) -> str:
    """What the other stages of the best candidate take on top."""
    return f"These hours are pretraining's. With all stages of its pipeline the best takes {pipeline_range(plan)}."


def _as_json(config: RunConfig, gpu: Gpu, here: Gpu | None, hours: float, found: list[Candidate]) -> dict[str, Any]:
    best = budget_search.best(found)
    return {
        "gpu": gpu.id,
        "gpu_here": here.id if here is not None else None,
        "budget_hours": hours,
        "scaling_law": scaling.NAME,
        "outside_range": scaling.outside_range(best.params, best.tokens) if best else "",
        "best": best,
        "pipeline": _plan_of(config, gpu, best).pipeline if best else None,  # hours are pretraining's
        "candidates": found,
    }


def _lines(config: RunConfig, gpu: Gpu, hours: float, found: list[Candidate]) -> list[str]:
    best = budget_search.best(found)
    if best is None:
        return [f"no model trains {budget_search.FEWEST_STEPS} steps in {hours:g} h on {gpu.name}. Allow more time."]
    vocab_size = config.tokenizer.vocab_size
    lines = [
        f"{hours:g} h on {gpu.name}: depth {best.depth} on {formatting.count(best.tokens)} tokens, predicted "
        f"{loss_text(best.predicted_loss, vocab_size)}",
        "",
        header(),
    ]
    rows = [(table_row(cells_of(c, vocab_size)), mark_of(c, best)) for c in worth_showing(found, hours)]
    lines += [f"{row} {mark}".rstrip() for row, mark in rows]
    lines += ["", "* no other is as quick and as good.", law_line(best), _stages_line(_plan_of(config, gpu, best))]
    return lines


def _adopt_lines(options: argparse.Namespace, config: RunConfig, found: list[Candidate]) -> list[str]:
    """The command that trains the best: what was asked with, for the rest is as there, and then its own settings."""
    best = budget_search.best(found)
    if best is None:
        return []
    change = {"budget.tokens": "none"} if config.budget.tokens is not None else {}  # else it would not go by steps
    own = {**change, **{path: str(value) for path, value in best.change.items()}}
    command = ["nanosolo"]
    for name in ("preset", "config", "gpu", "price"):
        if (given := getattr(options, name)) is not None:
            command += [f"--{name}", given]
    kept = [text for text in options.set if text.partition("=")[0] not in own]
    for setting in [*kept, *(f"{path}={value}" for path, value in own.items())]:
        command += ["--set", setting]
    for name in ("stages", "skip"):
        if (given := getattr(options, name)) is not None:
            command += [f"--{name}", given]
    return ["", f"adopt it: {shlex.join(command)}"]
