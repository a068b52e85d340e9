"""The work of CORE in tokens and FLOPs, one question at a time and in batches."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.config.schema import heads_of, width_of
from engine.data.core_bundle import CoreTask
from engine.evaluate.core.prefix_packing import pack
from engine.evaluate.core.questions import Question
from engine.plan.shape import Shape

CONTEXT = 2048


class Asked(NamedTuple):
    """A task and its questions."""

    task: CoreTask
    questions: list[Question]
    seconds: float  # to encode them


def shape_at(depth: int, vocab_size: int) -> Shape:
    """The model of a depth."""
    return Shape(depth=depth, width=width_of(depth), heads=heads_of(depth), vocab_size=vocab_size, max_seq_len=CONTEXT)


def whole_rows(question: Question) -> list[np.ndarray]:
    """The tokens of each option, including the last."""
    return [np.append(row.tokens, end[-1:]) for row, end in zip(question.rows, question.targets, strict=True)]


def flops(shape: Shape, tokens: float, pairs: float, scored: float) -> float:
    """FLOPs of `tokens` through the blocks, `pairs` of tokens in attention, and `scored` positions at the head."""
    matrices = 2.0 * shape.params.matrices * tokens
    attention = 4.0 * shape.width * shape.depth * pairs
    return matrices + attention + 2.0 * shape.vocab_size * shape.width * scored


def counts(question: Question) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(tokens, pairs, scored) of a question: one at a time, and batched."""
    longest = max(len(row.tokens) for row in question.rows) + 1
    rows, packed = len(question.rows), pack(question.rows)
    ends = np.bincount(packed.branch)[1:]
    pairs = packed.shared * (packed.shared + 1) / 2 + float(np.sum(ends * packed.shared + ends * (ends + 1) / 2))
    return (
        (rows * longest, rows * longest * (longest + 1) / 2, rows * longest),
        (len(packed.tokens), pairs, sum(map(len, packed.wanted))),
    )


def work(tasks: Sequence[Asked], depths: Sequence[int], vocab_size: int) -> dict[str, Any]:
    """Tokens and FLOPs of both methods."""
    rows, total = [], np.zeros((2, 3))
    by_kind: dict[str, np.ndarray] = {}
    for task, questions, _ in tasks:
        found = np.sum([counts(question) for question in questions], 0)
        total += found
        by_kind[task.kind] = by_kind.get(task.kind, np.zeros((2, 3))) + found
        rows.append({"task": task.label, "kind": task.kind, "shots": task.shots} | ratios(found, len(questions)))
    number = sum(len(questions) for _, questions, _ in tasks)
    return {
        "vocab_size": vocab_size,
        "tasks": rows,
        "kinds": {kind: ratios(found, None) for kind, found in by_kind.items()},
        "all": ratios(total, number),
        "fewer_flops": {
            f"d{depth}": float(flops(shape, *total[0]) / flops(shape, *total[1]))
            for depth in depths
            for shape in [shape_at(depth, vocab_size)]
        },
    }


def ratios(found: np.ndarray, questions: int | None) -> dict[str, Any]:
    """One row of counts, as text."""
    ratio = {"fewer_tokens": found[0, 0] / found[1, 0]}
    if questions is None:
        return ratio
    per_question = {"one_at_a_time": found[0, 0] / questions, "ours": found[1, 0] / questions}
    return {"questions": questions, "tokens_per_question": per_question, **ratio}
