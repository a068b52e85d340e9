"""The results of the model: bits per byte, losses on conversations, accuracies next to the guessing baseline."""

from engine.events.kinds import Evaluation
from engine.events.scores import ENDS, HIGHER, LOWER, REWARD, Score, direction, scores
from engine.report.document import Block, Column, Paragraph, Section, Table
from engine.report.excerpts import excerpt
from engine.report.source import Source

# metric -> (name, unit)
CURVES: dict[str, tuple[str, str]] = {
    "val_bpb": ("held-out text", "bits per byte"),
    "train_bpb": ("training text", "bits per byte"),
    "val_loss": ("held-out answers", "nats per token"),
    REWARD: ("reward of a step", "share of correct answers"),
}
# prefix of metrics -> (title, metric of the whole group)
GROUPS = {"core/": ("CORE", "core"), "chat/": ("Chat tasks", "chat_core"), "pass@": ("Rewarded problems", "")}


def results_section(source: Source) -> Section | None:
    """None if nothing was evaluated."""
    found = source.history.evaluations
    blocks = [block for block in (_curves(found), *_accuracies(scores(found))) if block is not None]
    return Section("evaluations", "Evaluations", tuple(blocks)) if blocks else None


def figure(value: float | None) -> str:
    """A metric with four decimals; a dash if it is missing."""
    return "–" if value is None else f"{value:.4f}"


def _curves(found: list[Evaluation]) -> Table | None:
    rows = []
    for stage, metric in dict.fromkeys((e.stage, e.metric) for e in found if e.metric in CURVES):
        own = [e for e in found if (e.stage, e.metric) == (stage, metric)]
        what, unit = CURVES[metric]
        best = (min if direction(metric) == LOWER else max)(own, key=lambda e: e.value)
        rows.append(
            (
                f"{what}, {unit}, {direction(metric)}",
                excerpt(stage, 40),
                figure(own[0].value),
                f"{figure(best.value)} (step {best.step:,})",
                figure(own[-1].value),
                f"{len(own):,}",
            )
        )
    heads = (
        Column("what"),
        Column("stage"),
        Column("first", "number"),
        Column("best", "number"),
        Column("last", "number"),
        Column("times", "number"),
    )
    return Table(heads, tuple(rows), "Bits per byte and losses") if rows else None


def _accuracies(found: list[Score]) -> list[Block]:
    sums = {metric for _, metric in GROUPS.values()}
    blocks: list[Block] = []
    for beginning, (title, metric) in GROUPS.items():
        own = [score for score in found if score.name.startswith(beginning)]
        total = next((score for score in found if score.name == metric), None)
        if own or total:
            blocks.append(_table(f"{title}, {HIGHER}", [*own, *([total] if total else [])], metric))
    known = tuple(GROUPS)
    rest = [score for score in found if not score.name.startswith(known) and score.name not in sums]
    if rest:
        blocks.append(_table(f"Other accuracies, {HIGHER}", rest, ""))
    if any(score.baseline is not None for score in found):
        blocks.append(Paragraph("Centered: (accuracy - guessing) / (1 - guessing), so 0 is guessing and 1 is perfect."))
    if any(score.name == ENDS for score in found):
        blocks.append(Paragraph(f"{ENDS}: the share of generated answers that end with the end token."))
    return blocks


def _table(title: str, found: list[Score], metric: str) -> Table:
    rows = tuple(
        (
            excerpt(score.name, 60),
            # a group's total is a mean of centered accuracies, not an accuracy
            figure(None if score.name == metric else score.value),
            figure(None if score.name == metric else score.baseline),
            figure(score.value if score.name == metric else score.centered),
            f"{score.examples:,}",
        )
        for score in found
    )
    heads = (
        Column("task"),
        Column("accuracy", "number"),
        Column("by guessing", "number"),
        Column("centered", "number"),
        Column("questions", "number"),
    )
    shares = tuple(score.value if score.name == metric else score.centered for score in found)
    return Table(heads, rows, title, shares)
