"""The best model for a number of hours: what is typed, what is found, and how a candidate is written."""

import math
from typing import Any, NamedTuple

from engine.core import formatting
from engine.hardware.gpu_catalog import Gpu
from engine.plan import budget_search, scaling
from engine.plan.budget_search import Candidate
from engine.plan.plan import Plan
from tui.planning.choices import Here
from tui.planning.draft import Draft

NEARLY = 0.9  # of the hours: a candidate that takes as long uses the whole budget
MOST_HOURS = 10_000.0

# heading, cells; as `cells_of` fills them
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
    ("checkpointing", -9),  # from the left
)


class Asked(NamedTuple):
    """A time budget, and what an hour costs."""

    hours: float
    price: float | None


class Found(NamedTuple):
    """What a budget allows on one GPU, for everything else as in one draft."""

    asked: Asked
    gpu: Gpu
    vocab_size: int
    candidates: list[Candidate]  # the lowest predicted loss first
    best: Candidate | None
    trouble: str  # why there is none

    @property
    def shown(self) -> list[Candidate]:
        """Those that use the whole budget, and those that are best for less time."""
        return worth_showing(self.candidates, self.asked.hours)

    @property
    def estimated(self) -> list[Candidate]:
        """Those of which the law tells something."""
        return [c for c in self.candidates if not scaling.tells_nothing(c.predicted_loss, self.vocab_size)]

    @property
    def front(self) -> list[Candidate]:
        """Those that no other beats in both time and loss, the quickest first, as far as the law tells something."""
        return sorted((c for c in self.estimated if c.pareto), key=lambda c: c.hours)


def worth_showing(found: list[Candidate], hours: float) -> list[Candidate]:
    """Of all candidates those that use the whole budget, and those that are best for less time."""
    return [c for c in found if c.pareto or c.hours > NEARLY * hours]


def parse_hours(text: str) -> float:
    """Hours as typed. Raises ValueError with what was expected."""
    hours = _number(text)
    if hours is None or not 0 < hours <= MOST_HOURS:
        raise ValueError(f"hours: a number above 0, at most {MOST_HOURS:,.0f}")
    return hours


def parse_price(text: str) -> float | None:
    """The price of an hour as typed, None where it is left empty. Raises ValueError with what was expected."""
    if not text.strip():
        return None
    price = _number(text)
    if price is None or price < 0:
        raise ValueError("price: a number from 0, or empty")
    return price


def _number(text: str) -> float | None:
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def first_hours(plan: Plan) -> float:
    """The budget to begin with: as long as the plan takes, in whole hours."""
    return float(min(MOST_HOURS, max(1, round(plan.time.hours or 1))))


def find(draft: Draft, here: Here, asked: Asked) -> Found:
    """Search the models that train within the hours on the draft's GPU; 0.03 s of CPU."""
    gpu, vocab_size = here.device(draft.config), draft.config.tokenizer.vocab_size
    if gpu.peak_flops <= 0:
        return Found(
            asked, gpu, vocab_size, [], None, f"How fast {gpu.name} is, is not known. Plan for a similar GPU (d)."
        )
    candidates = budget_search.candidates(draft.config, gpu, asked.hours, asked.price, here.calibration(gpu))
    best = budget_search.best(candidates)
    trouble = ""
    if best is None:
        trouble = (
            f"No model trains {budget_search.FEWEST_STEPS} steps of {draft.config.batch.total_batch_size:,} tokens in "
            f"{asked.hours:g} h on {gpu.name}. Allow more time, or take a smaller batch.total_batch_size."
        )
    return Found(asked, gpu, vocab_size, candidates, best, trouble)


def adopt(draft: Draft, candidate: Candidate, price: float | None) -> Draft:
    """The draft with the candidate's model, batch and steps as edits."""
    changes: dict[str, Any] = {**candidate.change, "budget.tokens": None, "runtime.price_per_hour": price}
    return draft.edit(changes)


def loss_text(loss: float, vocab_size: int) -> str:
    """A predicted loss, or why there is none."""
    return "no estimate: too few tokens" if scaling.tells_nothing(loss, vocab_size) else f"loss {loss:.3f}"


def cells_of(candidate: Candidate, vocab_size: int) -> tuple[str, ...]:
    """One candidate's texts, in the order of COLUMNS."""
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
    """Texts under their headings, two cells apart; `without` leaves columns out."""
    return "  ".join(
        f"{text:>{width}}" if width > 0 else f"{text:<{-width}}"
        for (heading, width), text in zip(COLUMNS, texts, strict=True)
        if heading not in without
    )


def header(without: tuple[str, ...] = ()) -> str:
    """The headings as one row."""
    return table_row(tuple(heading for heading, _ in COLUMNS), without)


def mark_of(candidate: Candidate, best: Candidate | None) -> str:
    """What stands behind a candidate: whether it is the best, or best for its time."""
    return "* best" if candidate is best else "*" if candidate.pareto else ""


def describe(candidate: Candidate) -> str:
    """All about one candidate that the table may have no room for."""
    return (
        f"{candidate.steps:,} steps · {candidate.tokens_per_param:.3g} tokens/parameter · "
        f"{formatting.count(candidate.tokens_per_second)} tokens/s · {formatting.size(candidate.peak)}, "
        f"{formatting.percent(candidate.headroom)} left"
    )


def law_line(candidate: Candidate) -> str:
    """What the predicted loss rests on, or why that does not reach as far as this candidate."""
    outside = scaling.outside_range(candidate.params, candidate.tokens)
    if outside:
        return f"Outside the scaling law's range: {outside}. Take the order as a guess."
    return f"Scaling law: {scaling.NAME}; a comparison only."


def stages_line(plan: Plan) -> str:
    """What a budget does not count: the other stages of the pipeline, as they are planned now."""
    whole, own = plan.pipeline, plan.time
    if whole.hours is None or own.hours is None or "pretrain" not in [stage.stage for stage in plan.stages]:
        return "Hours are pretraining's; other stages come on top."
    more = whole.hours - own.hours
    return f"Hours are pretraining's; other stages take about {formatting.about_hours(more)} on top."
