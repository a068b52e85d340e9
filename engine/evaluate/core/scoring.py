"""Answers to CORE's questions: many at a time, and exactly those that each question would get alone."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.device.device import is_out_of_memory, release_memory
from engine.evaluate.core.prefix_packing import Packed, batch_size, by_length, pack, run
from engine.evaluate.core.questions import Question
from engine.evaluate.row_batches import hidden_states
from engine.model.gpt import GPT
from engine.model.loss import per_token_nats
from engine.plan.stage_memory import CORE_CHUNK

# How far a batch may move a figure of one target from what the row alone gives: other kernels add in another order.
# Several times the most that bench/core.py saw. bfloat16 logits of 8 to 15 are 2^-4 apart, and a lead has two of them.
DRIFT_OF_NATS = {torch.float32: 1e-4, torch.bfloat16: 0.2}
DRIFT_OF_LEAD = {torch.float32: 1e-4, torch.bfloat16: 0.4}

Outcome = bool | list[int]  # correct or not; or the options that may be the most likely, if rounding decides


def answer(
    model: GPT, questions: Sequence[Question], max_tokens: int, told: Callable[[int], None] = lambda _done: None
) -> list[bool]:
    """Whether the model answers each question of a task rightly: what `answer_alone` says, in fewer, shorter passes.

    Batches hold at most `max_tokens` tokens, or one question, and become smaller where memory runs out. A question
    whose outcome the rounding of a batch could turn is answered again alone. `told` hears how many are settled.
    """
    outcomes: list[bool] = [False] * len(questions)
    unsure: list[tuple[int, list[int]]] = []
    settled = 0
    for numbers, scores in batched_scores(model, questions, max_tokens):
        for number, of_question in zip(numbers, scores, strict=True):
            outcome = decide(questions[number], of_question, drifts(questions[number], model.compute_dtype))
            if isinstance(outcome, bool):
                outcomes[number] = outcome
                settled += 1
            else:
                unsure.append((number, outcome))
        told(settled)
    for number, contenders in unsure:
        outcomes[number] = answer_alone(model, questions[number], contenders)
        settled += 1
        told(settled)
    return outcomes


def answer_alone(model: GPT, question: Question, contenders: Sequence[int] | None = None) -> bool:
    """Whether the model answers one question rightly, each of its rows run by itself: the definition of CORE's scores.

    `contenders`: the options that may be the most likely, in order; others are ruled out.
    """
    options = range(len(question.rows)) if contenders is None else contenders
    scores = scores_alone(model, question, options)
    if question.gold is None:
        return scores[0] > 0
    return options[scores.index(min(scores))] == question.gold  # the first of equals


def scores_alone(model: GPT, question: Question, options: Sequence[int]) -> list[float]:
    """The scores of these rows, each run by itself; equal ones (options of one token) are run once.

    Where options are compared: the mean nats of a row's targets. Else the smallest lead of a target: its logit - the
    best other one, above 0 exactly where it is the most likely token.
    """
    scores = []
    known: dict[tuple[int, bytes], Tensor] = {}
    for option in options:
        row = question.rows[option]
        key = row.start, row.tokens.tobytes()
        if key not in known:
            ((_, known[key]),) = hidden_states(model, [row], 1)
        scores.append(_score(_figures(model, known[key], question.targets[option], question.gold), question.gold))
    return scores


def drifts(question: Question, dtype: torch.dtype) -> list[float]:
    """How far a batch may move the score of each row. A mean moves less the more targets it is of."""
    if question.gold is None:
        return [DRIFT_OF_LEAD[dtype]]
    return [DRIFT_OF_NATS[dtype] / math.sqrt(len(targets)) for targets in question.targets]


def decide(question: Question, scores: Sequence[float], drifts: Sequence[float]) -> Outcome:
    """What follows from scores that lie within `drifts` of those alone."""
    if question.gold is None:
        return scores[0] > 0 if abs(scores[0]) > drifts[0] else [0]
    most = min(score + drift for score, drift in zip(scores, drifts, strict=True))  # that the least may be
    # not <=, so that what is no number is a contender
    pairs = enumerate(zip(scores, drifts, strict=True))
    contenders = [option for option, (score, drift) in pairs if not score - drift > most]
    if question.gold not in contenders:
        return False
    return True if len(contenders) == 1 else contenders


def batched_scores(
    model: GPT, questions: Sequence[Question], max_tokens: int
) -> Iterator[tuple[list[int], list[list[float]]]]:
    """Yield (numbers of questions, the scores of each one's rows) by batches, the longest questions first.

    A question that does not fit in memory by itself has its rows run one by one.
    """
    packed = [pack(question.rows) for question in questions]
    order = by_length(packed)
    queued: tuple[list[int], Tensor] | None = None
    while order:
        size = batch_size([len(packed[number].tokens) for number in order], max_tokens)
        numbers = order[:size]
        figures = _tried(model, [questions[number] for number in numbers], [packed[number] for number in numbers])
        if figures is None and size > 1:
            max_tokens = len(packed[order[0]].tokens) * (size // 2)
            continue
        del order[:size]
        # read only when the device has its next batch, so that it never waits for the host
        if queued is not None:
            yield _read(questions, *queued)
            queued = None
        if figures is None:
            question = questions[numbers[0]]
            yield numbers, [scores_alone(model, question, range(len(question.rows)))]
        else:
            queued = numbers, figures
    if queued is not None:
        yield _read(questions, *queued)


def _tried(model: GPT, questions: Sequence[Question], batch: Sequence[Packed]) -> Tensor | None:
    """The figures of all targets of a batch, row by row; None where memory does not suffice."""
    try:
        targets = np.concatenate([targets for question in questions for targets in question.targets])
        return _figures(model, run(model, batch), targets, questions[0].gold)
    except Exception as error:
        if not is_out_of_memory(error, model.device.type):
            raise
    release_memory(model.device.type)  # here, where the error and what it holds are gone
    return None


def _read(questions: Sequence[Question], numbers: list[int], figures: Tensor) -> tuple[list[int], list[list[float]]]:
    """The scores of a batch from its figures."""
    counts = [len(targets) for number in numbers for targets in questions[number].targets]
    parts = iter(figures.cpu().split(counts))
    return numbers, [[_score(next(parts), questions[n].gold) for _ in questions[n].rows] for n in numbers]


@torch.no_grad()
def _figures(model: GPT, hidden: Tensor, targets: np.ndarray, gold: int | None) -> Tensor:
    """(m,) float32: the nats of each target after its hidden state (m, d), or its lead where there are no options."""
    wanted = torch.from_numpy(targets.astype(np.int64)).to(model.device, non_blocking=True)
    if gold is not None:
        return per_token_nats(hidden, model.head.weight, wanted, CORE_CHUNK)
    leads = [
        _leads(model.logits(some), ids.unsqueeze(1))
        for some, ids in zip(hidden.split(CORE_CHUNK), wanted.split(CORE_CHUNK), strict=True)
    ]
    return torch.cat(leads)


def _leads(logits: Tensor, targets: Tensor) -> Tensor:
    """Each target's logit minus the best other one; above 0 where it is the most likely. Overwrites the logits."""
    is_top = logits.argmax(1, keepdim=True) == targets
    own = logits.gather(1, targets)
    lead = own - logits.scatter_(1, targets, -math.inf).amax(1, keepdim=True)
    # of equals one is the most likely one
    return torch.where(is_top, lead.clamp(min=torch.finfo(lead.dtype).tiny), lead.clamp(max=0)).squeeze(1)


def _score(figures: Tensor, gold: int | None) -> float:
    """A row's score from the figures of its targets."""
    values = figures.tolist()
    # fsum: exactly rounded, so the mean hangs on the nats alone
    return min(values) if gold is None else math.fsum(values) / len(values)
