"""The stages of the pipeline: their order, and which stage each of them needs before it."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, get_args

from engine.config.schema import Stage
from engine.core.errors import UsageError

STAGES: tuple[Stage, ...] = get_args(Stage)  # in their order
# these train the model, each from the weights of one before it
MODEL_STAGES: tuple[Stage, ...] = ("pretrain", "midtrain", "sft", "rl")


class Need(NamedTuple):
    """What a stage needs: that one of these stages is done."""

    of: tuple[Stage, ...]
    why: str  # what the stage does with it; the name of the first stage of `of` follows


NEEDS: dict[str, Need] = {
    "tokenizer": Need(("data",), "reads the text of"),
    "tokenize": Need(("tokenizer",), "uses the tokenizer of"),
    "pretrain": Need(("tokenize",), "trains on the tokens of"),
    "evaluate": Need(("pretrain",), "measures the model of"),
    "midtrain": Need(("pretrain",), "starts from the weights of"),
    "sft": Need(("pretrain", "midtrain"), "starts from the weights of"),
    "rl": Need(("pretrain", "midtrain", "sft"), "starts from the weights of"),
    "chat_eval": Need(MODEL_STAGES, "evaluates the model of"),
}


class Missing(NamedTuple):
    """A stage that cannot run, and the stage to run first."""

    stage: str
    first: str
    why: str  # a sentence without its period


def named_stages(names: Iterable[str], where: str) -> tuple[Stage, ...]:
    """The stages of these names, in the order of the pipeline. Raises UsageError that names the option `where`."""
    given = [name.strip() for name in names if name.strip()]
    if not given:
        raise UsageError(f"{where}: name at least one of {', '.join(STAGES)}.")
    for name in given:
        if name not in STAGES:
            near = difflib.get_close_matches(name, STAGES, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]}?" if near else f"Stages: {', '.join(STAGES)}."
            raise UsageError(f"{where} {name}: no such stage. {hint}")
        if given.count(name) > 1:
            raise UsageError(f"{where}: {name} is named twice. Name each stage once.")
    return tuple(stage for stage in STAGES if stage in given)


def in_order(stages: Iterable[str]) -> list[str]:
    """Without duplicates, in the order of the pipeline; unknown names last."""
    known: tuple[str, ...] = STAGES
    return sorted(dict.fromkeys(stages), key=lambda stage: known.index(stage) if stage in known else len(known))


def first_missing(stages: Sequence[str], there: Collection[str] = ()) -> Missing | None:
    """The first of the stages, run in this order, that lacks what it needs. `there`: stages whose results exist."""
    for number, stage in enumerate(stages):
        need = NEEDS.get(stage)
        if need is not None and not any(other in there or other in stages[:number] for other in need.of):
            first = need.of[0]
            return Missing(stage, first, f"{stage} {need.why} {first}")
    return None


def with_needs(stages: Iterable[str], there: Collection[str] = ()) -> list[str]:
    """The stages and those that they need first, in order. `there`: stages whose results exist."""
    found = in_order(stages)
    while (missing := first_missing(found, there)) is not None:
        found = in_order([missing.first, *found])
    return found


def rests_on(stage: str) -> tuple[str, ...]:
    """The stages that make the result of this one outdated when they run again."""
    if stage == "report":
        return tuple(other for other in STAGES if other != stage)
    need = NEEDS.get(stage)
    # another text or tokenizer is refused once weights exist
    return tuple(other for other in need.of if other in MODEL_STAGES) if need is not None else ()
