"""The stages of the pipeline: their order, what names a user may give them, and what each must find done."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, get_args

from engine.config.schema import Stage
from engine.core.errors import UsageError

STAGES: tuple[Stage, ...] = get_args(Stage)  # in their order
# these train the model, each from the weights of one before it
MODEL_STAGES: tuple[Stage, ...] = ("pretrain", "midtrain", "sft", "rl")


class Need(NamedTuple):
    """What a stage must find: one of these stages done before it."""

    of: tuple[Stage, ...]
    why: str  # what the stage does with it, in words that go on with the name of the first


NEEDS: dict[str, Need] = {
    "tokenizer": Need(("data",), "reads the text of"),
    "tokenize": Need(("tokenizer",), "writes text in the tokens of"),
    "pretrain": Need(("tokenize",), "trains on the tokens of"),
    "evaluate": Need(("pretrain",), "judges the model of"),
    "midtrain": Need(("pretrain",), "begins with the weights of"),
    "sft": Need(("pretrain", "midtrain"), "begins with the weights of"),
    "rl": Need(("pretrain", "midtrain", "sft"), "begins with the weights of"),
    "chat_eval": Need(MODEL_STAGES, "asks the model of"),
}


class Missing(NamedTuple):
    """A stage that cannot work, and the one to run first."""

    stage: str
    first: str
    why: str  # one sentence without its end


def named_stages(names: Iterable[str], where: str) -> tuple[Stage, ...]:
    """The stages of these names, in the order of the pipeline. Raises UsageError; `where`: the option used."""
    given = [name.strip() for name in names if name.strip()]
    if not given:
        raise UsageError(f"{where}: name at least one of {', '.join(STAGES)}.")
    for name in given:
        if name not in STAGES:
            near = difflib.get_close_matches(name, STAGES, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(STAGES)}."
            raise UsageError(f"{where} {name}: there is no such stage. {hint}")
        if given.count(name) > 1:
            raise UsageError(f"{where}: {name} is named twice. Name each once.")
    return tuple(stage for stage in STAGES if stage in given)


def in_order(stages: Iterable[str]) -> list[str]:
    """Without doubles, as the pipeline runs them; those of no known name last."""
    known: tuple[str, ...] = STAGES
    return sorted(dict.fromkeys(stages), key=lambda stage: known.index(stage) if stage in known else len(known))


def first_missing(stages: Sequence[str], there: Collection[str] = ()) -> Missing | None:
    """The first of the stages, run in this order, that lacks what it needs. `there`: whose results are here already."""
    for number, stage in enumerate(stages):
        need = NEEDS.get(stage)
        if need is not None and not any(other in there or other in stages[:number] for other in need.of):
            first = need.of[0]
            return Missing(stage, first, f"{stage} {need.why} {first}")
    return None


def with_needs(stages: Iterable[str], there: Collection[str] = ()) -> list[str]:
    """The stages and all that they lack before them, in order. `there`: whose results are here already."""
    found = in_order(stages)
    while (missing := first_missing(found, there)) is not None:
        found = in_order([missing.first, *found])
    return found


def rests_on(stage: str) -> tuple[str, ...]:
    """The stages whose result another run of them would make different, so that this one's is of an earlier one."""
    if stage == "report":
        return tuple(other for other in STAGES if other != stage)
    need = NEEDS.get(stage)
    # a text or tokenizer that came out otherwise is refused where there are weights
    return tuple(other for other in need.of if other in MODEL_STAGES) if need is not None else ()
