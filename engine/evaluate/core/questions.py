"""CORE's examples as token rows: prompts, few-shot examples and which tokens are scored, by nanochat's rules."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.data.tokenizer import Tokenizer
from engine.evaluate.core.bundle import CoreTask
from engine.evaluate.rows import Row

SHOTS_SEED = 1234  # plus the example's index


class Question(NamedTuple):
    """One example. Every row ends before its last token, which is a target only."""

    rows: tuple[Row, ...]  # one for each option; a single one in language modelling
    targets: tuple[np.ndarray, ...]  # of each row's scored positions, uint16
    gold: int | None  # the right option; None: the likeliest tokens must be the targets


def make_question(task: CoreTask, examples: Sequence[dict[str, Any]], index: int, tokenizer: Tokenizer) -> Question:
    """The question of examples[index], after `task.shots` others drawn by Random(1234 + index).

    Options are compared on what follows their common prefix (multiple choice) or is their common suffix (schema);
    language modelling scores what the continuation adds to the prompt's tokens.
    """
    example = examples[index]
    others = [i for i in range(len(examples)) if i != index]
    chosen = random.Random(SHOTS_SEED + index).sample(others, min(task.shots, len(others)))
    shots = "".join(_shown(task, examples[i]) + "\n\n" for i in chosen)
    if task.kind == "multiple_choice":
        prompts = [f"{shots}{example['query']}{task.delimiter}{choice}" for choice in example["choices"]]
        ids = _encode(prompts, tokenizer)
        shared = _common_prefix(ids)
        starts = [min(shared, len(row) - 1) for row in ids]  # an option that begins another still has a token to score
    elif task.kind == "schema":
        prompts = [
            f"{shots}{context}{task.delimiter}{example['continuation']}" for context in example["context_options"]
        ]
        ids = _encode(prompts, tokenizer)
        shared = _common_prefix([row[::-1] for row in ids])
        starts = [max(1, len(row) - shared) for row in ids]
    else:
        prompt = f"{shots}{example['context'].strip()}{task.delimiter}"
        # without blanks at its end, which a tokenizer would join to the continuation's first word
        ids = _encode([prompt.strip(), prompt + example["continuation"]], tokenizer)
        starts = [min(_common_prefix(ids), len(ids[1]) - 1)]
        ids = ids[1:]
    return Question(
        rows=tuple(Row(row[:-1], start - 1) for row, start in zip(ids, starts, strict=True)),
        targets=tuple(row[start:] for row, start in zip(ids, starts, strict=True)),
        gold=None if task.kind == "language_modeling" else example["gold"],
    )


def _shown(task: CoreTask, example: dict[str, Any]) -> str:
    """An example with its answer."""
    if task.kind == "multiple_choice":
        return f"{example['query']}{task.delimiter}{example['choices'][example['gold']]}"
    if task.kind == "schema":
        return f"{example['context_options'][example['gold']]}{task.delimiter}{example['continuation']}"
    return f"{example['context'].strip()}{task.delimiter}{example['continuation']}"


def _encode(prompts: Sequence[str], tokenizer: Tokenizer) -> list[np.ndarray]:
    bos = np.array([tokenizer.bos_id], np.uint16)
    return [np.concatenate([bos, np.asarray(tokenizer.encode(prompt), np.uint16)]) for prompt in prompts]


def _common_prefix(rows: Sequence[np.ndarray]) -> int:
    """How many tokens all rows begin with."""
    shortest = min(map(len, rows))
    different = np.zeros(shortest, bool)
    for row in rows[1:]:
        different |= row[:shortest] != rows[0][:shortest]
    return int(different.argmax()) if different.any() else shortest
