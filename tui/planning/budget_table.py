"""The best model for a number of hours: the input, the search result, and the text of each candidate."""

import math
from typing import Any, NamedTuple

from engine.core import formatting
from engine.hardware.gpu_catalog import Gpu
from engine.plan import budget_search, scaling
from engine.plan.budget_search import Candidate
from engine.plan.plan import Plan
from tui.planning.choices import Here
from tui.planning.draft import Draft

NEARLY = 0.9  # share of the hours from which a candidate counts as using the full budget
MOST_HOURS = 10_000.0

# heading, cells; filled by `cells_of`
COLUMNS = (
    ("depth", 5),
    ("params", 6),
    ("tokens", 6),
    ("/param", 6),
    ("loss", 5),
    ("hours", 6),
    ("cost", 6),
    ("peak", 8),
    ("batch", 5),
    ("checkpointing", -9),  # negative: left-aligned
)


class Asked(NamedTuple):
    """A time budget and the price per hour."""

    hours: float
    price: float | None


class Found(NamedTuple):
    """The candidates of a budget on one GPU; all other settings come from one draft."""

    asked: Asked
    gpu: Gpu
    vocab_size: int
    candidates: list[Candidate]  # lowest predicted loss first
    best: Candidate | None
    trouble: str  # why there is no best candidate

    @property
    def shown(self) -> list[Candidate]:
        """The candidates that use the full budget, and those on the Pareto front."""
        return worth_showing(self.candidates, self.asked.hours)

    @property
    def estimated(self) -> list[Candidate]:
        """The candidates for which the scaling law gives an estimate."""
        return [c for c in self.candidates if not scaling.tells_nothing(c.predicted_loss, self.vocab_size)]

    @property
    def front(self) -> list[Candidate]:
        """The Pareto front of time and loss, fastest first, of the candidates with an estimate."""
        return sorted((c for c in self.estimated if c.pareto), key=lambda c: c.hours)


def worth_showing(found: list[Candidate], hours: float) -> list[Candidate]:
    """The candidates that use the full budget, and those on the Pareto front."""
    return [c for c in found if c.pareto or c.hours > NEARLY * hours]


def parse_hours(text: str) -> float:
    """Parse hours. Raises ValueError with what is expected."""
    hours = _number(text)
    if hours is None or not 0 < hours <= MOST_HOURS:
        raise ValueError(f"hours: enter a number above 0 and up to {MOST_HOURS:,.0f}")
    return hours


def parse_price(text: str) -> float | None:
    """Parse the price per hour, None if empty. Raises ValueError with what is expected."""
    if not text.strip():
        return None
    price = _number(text)
    if price is None or price < 0:
        raise ValueError("price: enter 0 or more, or leave it empty")
    return price


def _number(text: str) -> float | None:
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def first_hours(plan: Plan) -> float:
    """The initial budget: the time of the plan in whole hours."""
    return float(min(MOST_HOURS, max(1, round(plan.time.hours or 1))))


def find(draft: Draft, here: Here, asked: Asked) -> Found:
    """Search the models that train within the hours on the GPU of the draft; takes about 0.03 s of CPU."""
    gpu, vocab_size = here.device(draft.config), draft.config.tokenizer.vocab_size
    if gpu.peak_flops <= 0:
        return Found(
            asked, gpu, vocab_size, [], None, f"The speed of {gpu.name} is not known. Plan for a similar GPU (d)."
        )
    candidates = budget_search.candidates(draft.config, gpu, asked.hours, asked.price, here.calibration(gpu))
    best = budget_search.best(candidates)
    trouble = ""
    if best is None:
        trouble = (
            f"No model trains {budget_search.FEWEST_STEPS} steps of {draft.config.batch.total_batch_size:,} tokens in "
            f"{asked.hours:g} h on {gpu.name}. Increase the hours, or reduce batch.total_batch_size."
        )
    return Found(asked, gpu, vocab_size, candidates, best, trouble)


def adopt(draft: Draft, candidate: Candidate, price: float | None) -> Draft:
    """The draft with the model, batch and steps of the candidate as edits."""
    changes: dict[str, Any] = {**candidate.change, "budget.tokens": None, "runtime.price_per_hour": price}
    return draft.edit(changes)


def loss_text(loss: float, vocab_size: int) -> str:
    """A predicted loss, or why there is none."""
    return "no estimate: too few tokens" if scaling.tells_nothing(loss, vocab_size) else f"loss {loss:.3f}"


def cells_of(candidate: Candidate, vocab_size: int) -> tuple[str, ...]:
    """The texts of one candidate, in the order of COLUMNS."""
    known = not scaling.tells_nothing(candidate.predicted_loss, vocab_size)
    return (
        f"{candidate.depth}",
        formatting.count(candidate.params),
        formatting.count(candidate.tokens),
        f"{candidate.tokens_per_param:.1f}",
        f"{candidate.predicted_loss:.3f}" if known else "-",
        f"{candidate.hours:.2f}",
        formatting.money(candidate.cost) if candidate.cost is not None else "-",
        formatting.size(candidate.peak),
        f"{candidate.device_batch_size}",
        candidate.activation_checkpointing,
    )


def table_row(texts: tuple[str, ...], without: tuple[str, ...] = ()) -> str:
    """The texts in columns, two cells apart; `without` names columns to omit."""
    return "  ".join(
        f"{text:>{width}}" if width > 0 else f"{text:<{-width}}"
        for (heading, width), text in zip(COLUMNS, texts, strict=True)
        if heading not in without
    )


def header(without: tuple[str, ...] = ()) -> str:
    """The headings as one row."""
    return table_row(tuple(heading for heading, _ in COLUMNS), without)


def mark_of(candidate: Candidate, best: Candidate | None) -> str:
    """The mark after a candidate: the best one, or on the Pareto front."""
    return "* best" if candidate is best else "*" if candidate.pareto else ""


def describe(candidate: Candidate) -> str:
    """The details of one candidate that may not fit in the table."""
    return (
        f"{candidate.steps:,} steps · {candidate.tokens_per_param:.3g} tokens/parameter · "
        f"{formatting.count(candidate.tokens_per_second)} tokens/s · {formatting.size(candidate.peak)}, "
        f"{formatting.percent(candidate.headroom)} free"
    )


def law_line(candidate: Candidate) -> str:
    """The basis of the predicted loss, or why it does not cover this candidate."""
    outside = scaling.outside_range(candidate.params, candidate.tokens)
    if outside:
        return f"Outside the range of the scaling law: {outside}. The order is a guess."
    return f"Scaling law: {scaling.NAME}; comparison only."


def stages_line(plan: Plan) -> str:
    """The time that a budget does not include: the other stages of the pipeline."""
    whole, own = plan.pipeline, plan.time
    if whole.hours is None or own.hours is None or "pretrain" not in [stage.stage for stage in plan.stages]:
        return "Hours cover pretraining only; other stages add to them."
    more = whole.hours - own.hours
    return f"Hours cover pretraining only; other stages add about {formatting.about_hours(more)}."
