"""Answers to CORE's questions: many at a time, and exactly those that each question would get alone."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.evaluate.core.questions import Question
from engine.evaluate.rows import Row, hidden_states
from engine.model.gpt import GPT

CHUNK_TOKENS = 1024  # positions whose logits exist at one time

# How far a batch may move a figure (mean nats, or a logit's lead over the next) from what the row alone gives: other
# kernels add in another order. Well above float32's 1e-6; for bfloat16, whose logits are 2^-5 apart, about two steps.
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.08}


class Scores(NamedTuple):
    """Of one row."""

    nats: float  # mean over its targets
    lead: float  # smallest, over its targets, of target's logit - the best other logit
    hit: bool  # whether every target is the likeliest token


def answer(
    model: GPT, questions: Sequence[Question], max_tokens: int, told: Callable[[int], None] = lambda _done: None
) -> list[bool]:
    """Whether the model answers each question rightly: what `answer_alone` says, in far fewer forward passes.

    All rows run in batches of at most `max_tokens` tokens. A question whose outcome the rounding of a batch could turn
    is answered alone. `told` hears how many questions are settled.
    """
    close = CLOSE[model.compute_dtype]
    outcomes: list[bool | None] = [
        _outcome(question, scores, close)
        for question, scores in zip(questions, _score(model, questions, max_tokens), strict=True)
    ]
    told(sum(outcome is not None for outcome in outcomes))
    settled = []
    for question, outcome in zip(questions, outcomes, strict=True):
        settled.append(answer_alone(model, question) if outcome is None else outcome)
    told(len(settled))
    return settled


def answer_alone(model: GPT, question: Question) -> bool:
    """Whether the model answers one question rightly, each of its rows run by itself: the definition of a score."""
    (scores,) = _score(model, [question], 1)
    outcome = _outcome(question, scores, None)
    assert outcome is not None
    return outcome


def _outcome(question: Question, scores: Sequence[Scores], close: float | None) -> bool | None:
    """Right or not; None where a figure lies within `close` of deciding otherwise (with close = None: never)."""
    if question.gold is None:
        if close is not None and abs(scores[0].lead) <= close:
            return None
        return scores[0].hit
    nats = [score.nats for score in scores]
    best = nats.index(min(nats))  # the first of equals
    others = [value for option, value in enumerate(nats) if option != best]
    if close is not None and others and min(others) - nats[best] <= close:
        return None
    return best == question.gold


def _score(model: GPT, questions: Sequence[Question], max_tokens: int) -> list[list[Scores]]:
    """Scores of every row of every question. Rows with the same tokens run once: options of one token share theirs."""
    unique: dict[tuple[int, bytes], int] = {}
    rows: list[Row] = []
    users: list[list[tuple[int, int]]] = []  # of each unique row: (question, option)
    for number, question in enumerate(questions):
        for option, row in enumerate(question.rows):
            key = (row.start, row.tokens.tobytes())
            if key not in unique:
                unique[key] = len(rows)
                rows.append(row)
                users.append([])
            users[unique[key]].append((number, option))
    found: list[list[Scores | None]] = [[None] * len(question.rows) for question in questions]
    for indices, hidden in hidden_states(model, rows, max_tokens):
        sources: list[np.ndarray] = []
        targets: list[np.ndarray] = []
        wanted: list[tuple[int, int]] = []
        begin = 0
        for index in indices:
            count = len(rows[index].tokens) - rows[index].start
            for number, option in users[index]:
                sources.append(np.arange(begin, begin + count))
                targets.append(questions[number].targets[option])
                wanted.append((number, option))
            begin += count
        figures = _figures(model, hidden, np.concatenate(sources), np.concatenate(targets))
        place = 0
        for (number, option), part in zip(wanted, targets, strict=True):
            nats, lead, hit = (figure[place : place + len(part)] for figure in figures)
            # fsum: exactly rounded, so the mean hangs on the nats alone
            found[number][option] = Scores(math.fsum(nats) / len(part), min(lead), all(hit))
            place += len(part)
    return [[score for score in scores if score is not None] for scores in found]


@torch.no_grad()
def _figures(
    model: GPT, hidden: Tensor, sources: np.ndarray, targets: np.ndarray
) -> tuple[list[float], list[float], list[bool]]:
    """(nats, lead, whether it is the likeliest) of each target, given the hidden state hidden[source] before it."""
    nats: list[float] = []
    leads: list[float] = []
    hits: list[bool] = []
    source_ids = torch.from_numpy(sources).to(model.device)
    target_ids = torch.from_numpy(targets.astype(np.int64)).to(model.device)
    for some, wanted in zip(source_ids.split(CHUNK_TOKENS), target_ids.split(CHUNK_TOKENS), strict=True):
        logits = model.logits(hidden[some])
        column = wanted.unsqueeze(1)
        own = logits.gather(1, column).squeeze(1)
        nats += (logits.logsumexp(1) - own).tolist()
        hits += (logits.argmax(1) == wanted).tolist()
        leads += (own - logits.scatter(1, column, -math.inf).amax(1)).tolist()
    return nats, leads, hits
