"""The figures of a run: results, and predictions with their measurements."""

import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from engine.core import formatting
from engine.events.history import History
from engine.events.kinds import Evaluation
from engine.events.step_columns import StepColumns
from engine.hardware.versions import noted_code
from engine.plan.plan import Plan
from engine.report.changes import changes
from engine.report.document import Block, Column, Paragraph, Section, Table
from engine.report.excerpts import excerpt
from engine.report.source import PRETRAIN, Source, read_source
from engine.run.directory import RunDirectory

UNKNOWN = "not measured"
TAIL = 20  # steps at the end whose mean is the final loss


class Compared(NamedTuple):
    """A predicted and a measured value."""

    what: str
    predicted: float | None
    measured: float | None
    show: Callable[[float], str]
    basis: str

    @property
    def ratio(self) -> float | None:
        """Measured over predicted; None if one is missing."""
        return self.measured / self.predicted if self.predicted and self.measured is not None else None


def facts(run: RunDirectory, history: History | None = None) -> dict[str, Any]:
    """The figures as `nanosolo report --json` prints them. Raises UsageError."""
    return facts_of(read_source(run, history))


def facts_of(source: Source) -> dict[str, Any]:
    """The figures of a run; None or empty if not known."""
    history, plan = source.history, source.plan
    columns = history.columns(PRETRAIN)
    bpb = held_out(history)
    train = history.latest("train_bpb")
    return {
        "name": source.name,
        "outcome": source.outcome,
        "steps": columns.step[-1] if columns else 0,
        "planned_steps": plan.steps if plan else None,
        "tokens": columns.tokens[-1] if columns else 0,
        "final_loss": mean_tail(columns),
        "val_bpb_start": bpb[0].value if bpb and bpb[0].step == 0 else None,
        "val_bpb": bpb[-1].value if bpb else None,
        "train_bpb": train.value if train else None,
        "stage_seconds": {s.stage: source.seconds(s.stage) or 0.0 for s in history.stages.values() if s.ended},
        "predicted": predicted(plan),
        "measured": measured(source),
        "throughput": throughput(columns),
        "code": _code(history),
        "changes": [
            {"stage": c.stage or None, "step": c.step, "kind": c.kind, "what": c.what} for c in changes(history)
        ],
        "resumes": len(history.resumes),
        "out_of_memory": len(history.out_of_memory),
    }


def _code(history: History) -> dict[str, str | None]:
    """The code of the latest start, if it was recorded."""
    started = history.started
    if started is None:
        return {"version": None, "commit": None}
    return {"version": started.version, "commit": noted_code(started.version, started.versions).commit or None}


def predicted(plan: Plan | None) -> dict[str, float | None]:
    """The plan of pretraining, with the same keys as `measured`."""
    if plan is None:
        return {}
    t = plan.time
    return {
        "tokens_per_second": t.tokens_per_second,
        "step_seconds": t.step_seconds,
        "hours": t.hours,
        "mfu": t.mfu,
        # as measured: torch's allocations on a GPU, the whole process on a CPU
        "peak_memory": plan.memory.total - (plan.memory.overhead if plan.gpu != "cpu" else 0),
    }


def measured(source: Source) -> dict[str, float | None]:
    """The measured values of pretraining; empty before the second step."""
    columns = source.history.columns(PRETRAIN)
    if len(columns) < 2:
        return {}
    # the first step compiles or warms up, which the prediction does not cover
    mfu = _finite(columns.mfu[1:])
    peaks = _finite(columns.peak_memory)
    return {
        "tokens_per_second": statistics.median(columns.tokens_per_second[1:]),
        "step_seconds": statistics.median(columns.step_seconds[1:]),
        "hours": _hours_of(source, PRETRAIN),
        "mfu": statistics.median(mfu) if mfu else None,
        "peak_memory": max(peaks) if peaks else None,
    }


def throughput(columns: StepColumns) -> dict[str, float]:
    """The spread of the speed in tokens/s, and the share of the time spent waiting for data."""
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


def held_out(history: History) -> list[Evaluation]:
    """Bits per byte on held-out text, in order: of the latest pretraining and of later evaluations of it."""
    found = [e for e in history.evaluations if e.metric == "val_bpb"]
    first = next((place for place, e in enumerate(found) if e.stage == PRETRAIN), 0)
    return found[first:]


def mean_tail(columns: StepColumns) -> float | None:
    """Mean loss of the last steps; None if none is a number."""
    return mean(_finite(columns.loss[-TAIL:]))


def tail_words(columns: StepColumns) -> str:
    """The steps that `mean_tail` covers."""
    return f"mean of the last {min(TAIL, len(columns))} steps"


def mean(values: list[float]) -> float | None:
    """The mean of numbers of any size; None if there are none."""
    return sum(value / len(values) for value in values) if values else None


def is_done(source: Source, stage: str) -> bool:
    """Whether the stage last ended with `done`."""
    view = source.history.stages.get(stage)
    return view is not None and view.ended is not None and view.ended.outcome == "done"


def compare(source: Source) -> list[Compared]:
    """Predicted and measured values of pretraining's steps."""
    plan = source.plan
    if plan is None:
        return []
    before, after = predicted(plan), measured(source)
    time, memory = plan.time.basis, plan.memory.basis
    peak = "peak memory, torch's allocations" if plan.gpu != "cpu" else "peak memory of the process"
    rows: list[tuple[str, str, Callable[[float], str], str]] = [
        ("tokens_per_second", "tokens/s, median", formatting.count, time),
        ("step_seconds", "time per step, median", formatting.duration, time),
        ("mfu", "MFU, median", formatting.percent, time),
        ("peak_memory", peak, partial(_size_beside, (before.get("peak_memory"), after.get("peak_memory"))), memory),
    ]
    return [Compared(what, before.get(key), after.get(key), show, basis) for key, what, show, basis in rows]


def _size_beside(row: tuple[float | None, ...], size: float) -> str:
    """A size in the unit of its row."""
    return formatting.sizes(size, *row)[0]


def compare_times(source: Source) -> list[Compared]:
    """Predicted and measured run time of the stages, and the cost. Unfinished stages have no measurement."""
    plan, price = source.plan, source.config.runtime.price_per_hour
    if plan is None:
        return []
    rows = [
        Compared(excerpt(stage.stage, 40), stage.hours, _hours_of(source, stage.stage), _hours, stage.time_basis)
        for stage in plan.stages
    ]
    if price is not None:
        cost = price * source.all_seconds / 3600 if source.outcome == "done" else None
        basis = f"the time of all stages, {price:g} per hour"
        rows.append(Compared("cost of all", plan.pipeline.cost, cost, formatting.money, basis))
    return rows


def comparison_section(source: Source) -> Section:
    """Predicted against measured."""
    key, title = "predicted", "Predicted against measured"
    if source.plan is None:
        text = "The prediction is not known: plan.json is missing, damaged, or from another version of nanosolo."
        return Section(key, title, (Paragraph(text),))
    tables = (_table("Steps of pretraining", compare(source)), _table("Run time", compare_times(source)))
    return Section(key, title, (*tables, *_remarks(source)))


def _table(title: str, found: list[Compared]) -> Table:
    heads = (
        Column("what"),
        Column("predicted", "number"),
        Column("measured", "number"),
        Column("ratio", "number"),
        Column("basis of the prediction"),
    )
    bases = ["", *(row.basis for row in found)]
    rows = tuple(
        (
            row.what,
            row.show(row.predicted) if row.predicted is not None else "not predicted",
            row.show(row.measured) if row.measured is not None else UNKNOWN,
            f"{row.ratio:.2f}" if row.ratio is not None else "",
            "as above" if row.basis == above else excerpt(row.basis),
        )
        for above, row in zip(bases, found, strict=False)
    )
    return Table(heads, rows, title)


def _remarks(source: Source) -> list[Block]:
    found = []
    speed = throughput(source.history.columns(PRETRAIN))
    if speed:
        found.append(
            f"Speed: {formatting.count(speed['p10'])} (10th percentile) to {formatting.count(speed['p90'])} (90th) "
            f"tokens/s; {formatting.percent(speed['data_wait_share'], 1)} of the step time was spent waiting for data. "
            "The first step, which compiles or warms up, is not counted."
        )
    elif len(source.history.columns(PRETRAIN)):
        found.append("Too few steps to measure the speed.")
    began = source.seconds(PRETRAIN)
    if began is not None and not is_done(source, PRETRAIN):
        found.append(f"Pretraining is not done; it has run for {formatting.duration(began)} so far.")
    return [Paragraph(" ".join(found))] if found else []


def _finite(values: Any) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _hours_of(source: Source, stage: str) -> float | None:
    seconds = source.seconds(stage) if is_done(source, stage) else None
    return seconds / 3600 if seconds is not None else None


def _hours(hours: float) -> str:
    return formatting.hours(hours)
