"""CORE of one model: the accuracy of each task, its random baseline, and the centered mean, written as events."""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from engine.core.errors import NanosoloError
from engine.core.paths import data_home
from engine.data.core_bundle import CoreTask, find_bundle, read_examples, read_tasks
from engine.data.tokenizer import Tokenizer
from engine.device.device import is_out_of_memory, release_memory
from engine.evaluate.core.questions import Question, make_questions
from engine.evaluate.core.scoring import answer
from engine.evaluate.row_batches import token_budget
from engine.events import kinds
from engine.events.history import read_history
from engine.model.gpt import GPT
from engine.run.stage_context import StageContext

METRIC = "core"


class TaskResult(NamedTuple):
    """How one task went."""

    task: CoreTask
    accuracy: float
    examples: int

    @property
    def centered(self) -> float:
        """Its accuracy where guessing is 0."""
        return centered(self.accuracy, self.task.baseline)


def centered(accuracy: float, baseline: float) -> float:
    """Accuracy on a scale where guessing is 0 and perfection 1."""
    return (accuracy - baseline) / (1 - baseline)


def core_metric(results: Sequence[TaskResult]) -> float:
    """CORE: the mean of the centered accuracies (Li et al. 2024). NaN without results."""
    return math.fsum(result.centered for result in results) / len(results) if results else math.nan


def evaluate_core(context: StageContext, model: GPT, tokenizer: Tokenizer, step: int) -> None:
    """Emit `core/<task>` and `core`; nothing where the bundle is not wanted or not here. A bundle that cannot be had
    or read, or a task that does not fit in memory even row by row, costs a warning and `core`, not the run. Tasks that
    this step was judged by before are taken from the events."""
    config = context.config.evaluate
    try:
        folder = find_bundle(config.core, data_home(), context.progress)
        if folder is None:
            return
        tasks = [(task, read_examples(task, config.core_max_per_task)) for task in read_tasks(folder)]
    except NanosoloError as error:
        _leave_out(context, step, str(error))
        return
    known = {
        (event.metric, event.examples): event.value
        for event in read_history(context.run.events_file).evaluations
        if event.stage == context.stage and event.step == step
    }
    results = [
        TaskResult(task, known[key], len(examples))
        for task, examples in tasks
        if (key := (_metric(task), len(examples))) in known
    ]
    missing = [(task, examples) for task, examples in tasks if (_metric(task), len(examples)) not in known]
    began = time.perf_counter()
    for task, questions in _prepared(missing, tokenizer):
        result = _judge(context, model, task, questions, step)
        if result is not None:
            results.append(result)
    order = [task.label for task, _ in tasks]
    results.sort(key=lambda result: order.index(result.task.label))
    _print(results)
    if len(results) < len(tasks):
        return  # the mean of other tasks would be another figure
    context.emit(
        kinds.Evaluation(
            stage=context.stage,
            step=step,
            metric=METRIC,
            value=core_metric(results),
            seconds=time.perf_counter() - began,
            baseline=0.0,
            examples=sum(result.examples for result in results),
        )
    )


def _prepared(
    tasks: Sequence[tuple[CoreTask, list[dict[str, Any]]]], tokenizer: Tokenizer
) -> Iterator[tuple[CoreTask, list[Question]]]:
    """Yield each task with its questions, which were made while the task before was being asked."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = [pool.submit(make_questions, task, examples, tokenizer) for task, examples in tasks[:1]]
        for number, (task, _) in enumerate(tasks):
            questions = upcoming.pop().result()
            upcoming = [pool.submit(make_questions, *following, tokenizer) for following in tasks[number + 1 :][:1]]
            yield task, questions


def _judge(
    context: StageContext, model: GPT, task: CoreTask, questions: Sequence[Question], step: int
) -> TaskResult | None:
    """Ask a task and tell its accuracy; None, after a warning, where memory does not suffice."""
    began = time.perf_counter()
    unit = f"questions of {task.label}"
    try:
        outcomes = answer(
            model, questions, token_budget(model), lambda done: context.progress(done, len(questions), unit)
        )
    except Exception as error:
        if not is_out_of_memory(error, model.device.type):
            raise
        outcomes = None
    if outcomes is None:
        release_memory(model.device.type)
        _leave_out(context, step, f"a question of {task.label} does not fit in the memory of this {model.device.type}")
        return None
    result = TaskResult(task, sum(outcomes) / len(outcomes), len(outcomes))
    context.emit(
        kinds.Evaluation(
            stage=context.stage,
            step=step,
            metric=_metric(task),
            value=result.accuracy,
            seconds=time.perf_counter() - began,
            baseline=task.baseline,
            examples=result.examples,
        )
    )
    return result


def _metric(task: CoreTask) -> str:
    return f"{METRIC}/{task.label}"


def _leave_out(context: StageContext, step: int, message: str) -> None:
    context.emit(kinds.Warning(stage=context.stage, step=step, code="core_left_out", message=message))


def _print(results: Sequence[TaskResult]) -> None:
    """The table, into the log."""
    print(f"{'CORE task':<36}{'accuracy':>10}{'guessing':>10}{'centered':>10}{'examples':>10}")
    for result in results:
        figures = f"{result.accuracy:>10.4f}{result.task.baseline:>10.4f}{result.centered:>10.4f}{result.examples:>10,}"
        print(f"{result.task.label:<36}{figures}")
    print(f"{'CORE':<56}{core_metric(results):>10.4f}")
