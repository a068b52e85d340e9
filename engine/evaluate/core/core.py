"""Runs CORE on a model: each task's accuracy beside its random baseline, and their centred mean."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from engine.data.tokenizer import Tokenizer
from engine.evaluate.core.bundle import CoreTask, read_examples
from engine.evaluate.core.questions import make_question
from engine.evaluate.core.scoring import answer
from engine.model.gpt import GPT

Told = Callable[[int, int], None]  # (questions answered, of how many)


class TaskResult(NamedTuple):
    """How one task went."""

    task: CoreTask
    accuracy: float
    examples: int
    seconds: float

    @property
    def centred(self) -> float:
        """0 for guessing, 1 for perfect: (accuracy - baseline) / (1 - baseline)."""
        return centred(self.accuracy, self.task.baseline)


def centred(accuracy: float, baseline: float) -> float:
    """Accuracy on a scale where guessing is 0 and perfection 1."""
    return (accuracy - baseline) / (1 - baseline)


def core_metric(results: list[TaskResult]) -> float:
    """CORE: the mean of the centred accuracies (Li et al. 2024). NaN without results."""
    return math.fsum(result.centred for result in results) / len(results) if results else math.nan


def run_task(
    model: GPT, tokenizer: Tokenizer, task: CoreTask, max_examples: int, max_tokens: int, told: Told
) -> TaskResult:
    """Ask the task's questions (the first `max_examples` of a fixed shuffle; 0: all) in batches of `max_tokens`."""
    began = time.perf_counter()
    examples = read_examples(task, max_examples)
    questions = [make_question(task, examples, index, tokenizer) for index in range(len(examples))]
    outcomes = answer(model, questions, max_tokens, lambda done: told(done, len(examples)))
    return TaskResult(task, sum(outcomes) / len(outcomes), len(outcomes), time.perf_counter() - began)
