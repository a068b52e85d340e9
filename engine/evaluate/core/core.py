"""CORE of one model: each task's accuracy beside its random baseline, and their centred mean, told as events."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from engine.data.tokenizer import Tokenizer
from engine.errors import NanosoloError
from engine.evaluate.core.bundle import CoreTask, find_bundle, read_examples, read_tasks
from engine.evaluate.core.questions import make_question
from engine.evaluate.core.scoring import answer
from engine.model.gpt import GPT
from engine.run import events
from engine.run.history import read_history
from engine.run.home import data_home
from engine.run.stage import StageContext
from engine.train.device import is_out_of_memory, release_memory

METRIC = "core"
# Without gradients and optimizer, rows that are run for their hidden states alone leave room for more of them.
BATCHES_OF_TRAINING = 2

Told = Callable[[int, int], None]  # (questions answered, of how many)


class TaskResult(NamedTuple):
    """How one task went."""

    task: CoreTask
    accuracy: float
    examples: int

    @property
    def centred(self) -> float:
        """Its accuracy where guessing is 0."""
        return centred(self.accuracy, self.task.baseline)


def centred(accuracy: float, baseline: float) -> float:
    """Accuracy on a scale where guessing is 0 and perfection 1."""
    return (accuracy - baseline) / (1 - baseline)


def core_metric(results: Sequence[TaskResult]) -> float:
    """CORE: the mean of the centred accuracies (Li et al. 2024). NaN without results."""
    return math.fsum(result.centred for result in results) / len(results) if results else math.nan


def evaluate_core(context: StageContext, model: GPT, tokenizer: Tokenizer, step: int) -> None:
    """Emit `core/<task>` and `core`; nothing where the bundle is not wanted or not here. A bundle that cannot be had
    or read costs a warning, not the run. Tasks that this step was judged by before are taken from the events."""
    config = context.config.evaluate
    try:
        folder = find_bundle(config.core, data_home(), context.progress)
        if folder is None:
            return
        tasks = [(task, read_examples(task, config.core_max_per_task)) for task in read_tasks(folder)]
    except NanosoloError as error:
        context.emit(events.Warning(stage=context.stage, step=step, code="core_left_out", message=str(error)))
        return
    known = {
        (event.metric, event.examples): event.value
        for event in read_history(context.run.events_file).evaluations
        if event.stage == context.stage and event.step == step
    }
    began = time.perf_counter()
    results = []
    for task, examples in tasks:
        metric = f"{METRIC}/{task.label}"
        accuracy = known.get((metric, len(examples)))
        if accuracy is None:
            accuracy = _judge(context, model, tokenizer, task, examples, step, metric)
        results.append(TaskResult(task, accuracy, len(examples)))
    _print(results)
    context.emit(
        events.Evaluation(
            stage=context.stage,
            step=step,
            metric=METRIC,
            value=core_metric(results),
            seconds=time.perf_counter() - began,
            baseline=0.0,
            examples=sum(result.examples for result in results),
        )
    )


def run_task(
    model: GPT, tokenizer: Tokenizer, task: CoreTask, examples: Sequence[dict[str, Any]], max_tokens: int, told: Told
) -> float:
    """The accuracy on a task's examples, in batches of at most `max_tokens` tokens, fewer where memory runs out."""
    questions = [make_question(task, examples, index, tokenizer) for index in range(len(examples))]
    while True:
        try:
            outcomes = answer(model, questions, max_tokens, lambda done: told(done, len(examples)))
            return sum(outcomes) / len(outcomes)
        except Exception as error:
            if not is_out_of_memory(error) or max_tokens <= 1:
                raise
        release_memory(model.device.type)
        max_tokens //= 2


def _judge(
    context: StageContext,
    model: GPT,
    tokenizer: Tokenizer,
    task: CoreTask,
    examples: list[dict[str, Any]],
    step: int,
    metric: str,
) -> float:
    began = time.perf_counter()
    config = context.config
    max_tokens = BATCHES_OF_TRAINING * config.batch.device_batch_size * config.model.max_seq_len
    unit = f"questions of {task.label}"
    accuracy = run_task(
        model, tokenizer, task, examples, max_tokens, lambda done, total: context.progress(done, total, unit)
    )
    context.emit(
        events.Evaluation(
            stage=context.stage,
            step=step,
            metric=metric,
            value=accuracy,
            seconds=time.perf_counter() - began,
            baseline=task.baseline,
            examples=len(examples),
        )
    )
    return accuracy


def _print(results: Sequence[TaskResult]) -> None:
    """The table, into the log."""
    print(f"{'CORE task':<36}{'accuracy':>10}{'guessing':>10}{'centred':>10}{'examples':>10}")
    for result in results:
        figures = f"{result.accuracy:>10.4f}{result.task.baseline:>10.4f}{result.centred:>10.4f}{result.examples:>10,}"
        print(f"{result.task.label:<36}{figures}")
    print(f"{'CORE':<56}{core_metric(results):>10.4f}")
