"""The stages of a run in order, with run time and result."""

from engine.core import formatting
from engine.events.attempts import of_last_pass
from engine.events.scores import REWARD
from engine.report.document import Block, Column, Paragraph, Section, Span, Table, Timeline, Tone
from engine.report.excerpts import excerpt
from engine.report.measured import mean_tail, tail_words
from engine.report.source import Source

WRITING = "writing this"  # the outcome of the stage that writes the report
TONES: dict[str, Tone] = {"done": "good", "stopped": "quiet"}
# the main metrics of each stage
RESULTS = {
    "pretrain": (("val_bpb", "bits per byte"),),
    "evaluate": (("core", "CORE"), ("val_bpb", "bits per byte")),
    "midtrain": (("val_loss", "validation loss"),),
    "sft": (("val_loss", "validation loss"),),
    "rl": (("pass@1", "pass@1"), (REWARD, "reward")),
    "chat_eval": (("chat_core", "chat tasks"),),
}


def stages_section(source: Source) -> Section:
    """A timeline and a table."""
    pipeline = list(source.config.pipeline.stages)
    begun = [stage for stage in source.history.stages if stage not in pipeline]
    names = sorted(pipeline + begun, key=lambda stage: _order(source, stage))
    if not names:
        return Section("stages", "Stages", (Paragraph("The run has no stages."),))
    heads = (
        Column("stage"),
        Column("outcome"),
        Column("started after", "number"),
        Column("run time", "number"),
        Column("steps", "number"),
        Column("tokens", "number"),
        Column("result"),
    )
    table = Table(heads, tuple(_row(source, stage) for stage in names))
    blocks: tuple[Block, ...] = (table,)
    spans = _spans(source, names)
    return Section("stages", "Stages", (Timeline(spans), *blocks) if spans else blocks)


def _row(source: Source, stage: str) -> tuple[str, ...]:
    own = of_last_pass(source.history.attempts, stage)
    columns = source.history.steps.get(stage)
    trained = columns is not None and len(columns) > 0
    first = source.history.first_started
    outcome = _outcome(source, stage)
    seconds = source.seconds(stage) if outcome != WRITING else None
    again = f", in {len(own)} attempts" if len(own) > 1 else ""
    return (
        excerpt(stage, 40),
        outcome,
        formatting.duration(max(0.0, own[0].started - first)) if own and first is not None else "",
        formatting.duration(seconds) + again if seconds is not None else "",
        f"{columns.step[-1]:,}" if trained and columns else "",
        formatting.count(columns.tokens[-1]) if trained and columns else "",
        _result(source, stage),
    )


def _outcome(source: Source, stage: str) -> str:
    view = source.history.stages.get(stage)
    if view is None:
        return "not reached" if source.history.started is not None else "pending"
    if view.ended is not None:
        return excerpt(view.ended.outcome.replace("_", " "), 40) + _of_earlier(source, stage)
    if stage == "report" and source.state in ("running", "finished"):
        return WRITING
    return "running" if source.history.current == stage and source.state != "failed" else "ended unexpectedly"


def _of_earlier(source: Source, stage: str) -> str:
    """The note for a stage whose base weights have been trained again since."""
    newer = source.made_again(stage)
    return f", of an earlier {newer}" if newer and stage != "report" else ""


def _result(source: Source, stage: str) -> str:
    said = []
    for metric, name in RESULTS.get(stage, ()):
        newest = [e for e in source.history.evaluations if e.stage == stage and e.metric == metric]
        if newest:
            said.append(f"{name} {newest[-1].value:.4f}")
    columns = source.history.steps.get(stage)
    loss = mean_tail(columns) if columns is not None and stage != "rl" else None
    if columns is not None and loss is not None:
        said.append(f"loss {loss:.4f} ({tail_words(columns)})")
    return ", ".join(said)


def _spans(source: Source, names: list[str]) -> tuple[Span, ...]:
    lengths = [(stage, source.seconds(stage) or 0.0) for stage in names]
    total = sum(seconds for _, seconds in lengths)
    if total <= 0:
        return ()
    return tuple(
        Span(excerpt(stage, 40), seconds / total, formatting.duration(seconds), _tone(source, stage))
        for stage, seconds in lengths
        if seconds > 0
    )


def _tone(source: Source, stage: str) -> Tone:
    view = source.history.stages.get(stage)
    if view is None or view.ended is None:
        return "busy"
    return TONES.get(view.ended.outcome, "bad")


def _order(source: Source, stage: str) -> tuple[int, float]:
    """In pipeline order; stages run separately come where they started."""
    pipeline = source.config.pipeline.stages
    if stage in pipeline:
        return pipeline.index(stage), 0.0
    view = source.history.stages[stage]
    earlier = [
        pipeline.index(other)
        for other, seen in source.history.stages.items()
        if other in pipeline and seen.started <= view.started
    ]
    return max(earlier, default=-1), view.started
