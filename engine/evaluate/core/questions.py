"""CORE's examples as token rows: prompts, few-shot examples and which tokens are scored, by nanochat's rules."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.data.core_bundle import CoreTask
from engine.data.tokenizer import Tokenizer
from engine.evaluate.core.prefix_packing import common_prefix
from engine.evaluate.row_batches import Row

SHOTS_SEED = 1234  # plus the example's index


class Question(NamedTuple):
    """One example. Every row ends before its last token, which is a target only."""

    rows: tuple[Row, ...]  # one for each option; a single one in language modelling
    targets: tuple[np.ndarray, ...]  # of each row's scored positions, uint16
    gold: int | None  # the correct option; None: the most likely tokens must be the targets


class Shots:
    """What comes before a task's questions: each question's own choice of the other examples, with their answers."""

    def __init__(self, task: CoreTask, examples: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> None:
        self._count = task.shots
        self._tokenizer = tokenizer
        self._bos = np.array([tokenizer.bos_id], np.uint16)
        # each is shown before some `shots` questions, and encoded once
        self._texts = [_shown(task, example) + "\n\n" for example in examples] if task.shots else []
        self._ids = tokenizer.encode_batch(self._texts)
        self._whole = all(map(_begins_anew, self._texts))

    def before(self, index: int, total: int) -> tuple[str, np.ndarray | None]:
        """The text before question `index` of `total`, which Random(1234 + index) draws, and its ids (None where they
        depend on what follows)."""
        if not self._count:
            return "", self._bos
        others = [i for i in range(total) if i != index]
        chosen = random.Random(SHOTS_SEED + index).sample(others, min(self._count, len(others)))
        ids = np.concatenate([self._bos, *(self._ids[i] for i in chosen)]) if self._whole else None
        return "".join(self._texts[i] for i in chosen), ids

    def encode(self, prompts: Sequence[str], text: str, ids: np.ndarray | None) -> list[np.ndarray]:
        """The ids of prompts that begin with a text of these ids (where `ids` is given, and most of them do)."""
        encoded = []
        for prompt in prompts:
            rest = prompt[len(text) :]
            if ids is not None and prompt.startswith(text) and (not text or _begins_anew(rest)):
                parts = ids, np.asarray(self._tokenizer.encode(rest), np.uint16)
            else:
                parts = self._bos, np.asarray(self._tokenizer.encode(prompt), np.uint16)
            encoded.append(np.concatenate(parts))
        return encoded


def make_questions(task: CoreTask, examples: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> list[Question]:
    """The questions of all examples."""
    shots = Shots(task, examples, tokenizer)
    return [_question(task, examples, index, shots) for index in range(len(examples))]


def _question(task: CoreTask, examples: Sequence[dict[str, Any]], index: int, before: Shots) -> Question:
    """The question of examples[index].

    Options are compared on what follows their common prefix (multiple choice) or is their common suffix (schema);
    language modelling scores what the continuation adds to the prompt's tokens.
    """
    example = examples[index]
    shots, shot_ids = before.before(index, len(examples))
    if task.kind == "multiple_choice":
        prompts = [f"{shots}{example['query']}{task.delimiter}{choice}" for choice in example["choices"]]
        ids = before.encode(prompts, shots, shot_ids)
        shared = common_prefix(ids)
        starts = [min(shared, len(row) - 1) for row in ids]  # an option that begins another still has a token to score
    elif task.kind == "schema":
        prompts = [
            f"{shots}{context}{task.delimiter}{example['continuation']}" for context in example["context_options"]
        ]
        ids = before.encode(prompts, shots, shot_ids)
        shared = common_prefix([row[::-1] for row in ids])
        starts = [max(1, len(row) - shared) for row in ids]
    else:
        prompt = f"{shots}{example['context'].strip()}{task.delimiter}"
        # without blanks at its end, which a tokenizer would join to the continuation's first word
        ids = before.encode([prompt.strip(), prompt + example["continuation"]], shots, shot_ids)
        starts = [min(common_prefix(ids), len(ids[1]) - 1)]
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


def _begins_anew(text: str) -> bool:
    """Whether a text's tokens are the same by themselves and after a line break: no token holds a line break and what
    is no blank behind it (tokenizer.SPLIT_PATTERN)."""
    return bool(text) and not text[0].isspace()
