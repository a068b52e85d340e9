"""The stage chat_eval: measures the final model on problems with known answers, and samples a few conversations.

It loads the newest weights of the run and answers the problems of every task: multiple choice by the most probable
letter, others by generated text. Results that are in the events already are not measured again.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from engine.checkpoint.checkpoint import load_model, read_state
from engine.checkpoint.lineage import last_weights, no_weights
from engine.core.paths import data_home
from engine.data.tokenizer import Tokenizer
from engine.device.allocator import settle_for_stage
from engine.device.device import is_out_of_memory, prepare_device, release_memory
from engine.evaluate.chat.answers import GradedAnswers, answer_multiple_choice, write_answers
from engine.evaluate.chat.problems import ChatProblems, load_problems, prepare_task
from engine.evaluate.chat.sample_conversations import sample_conversations
from engine.evaluate.core.core import centered
from engine.evaluate.row_batches import token_budget
from engine.events import kinds
from engine.events.history import read_history
from engine.events.scores import ENDS
from engine.model.gpt import GPT
from engine.run.stage_context import StageContext
from engine.train.code_check import check_code

METRIC = "chat_core"
SHOWN = 2  # answers of each task that become samples

Result = TypeVar("Result")


def chat_eval(context: StageContext) -> None:
    """Emit the accuracy on each task as `chat/<task>`, their centered mean as `chat_core`, and the share of generated
    answers that reach their end token as `chat/ends`; as samples, right and wrong answers and a few conversations."""
    device = prepare_device(context.config, context.run.plan())
    settle_for_stage(context, device)
    newest = last_weights(context)
    if newest is None:
        raise no_weights(context, "evaluate")
    print(f"evaluating {newest.relative_to(context.run.path)}")
    step = read_state(newest).step
    check_code(context, newest, step)
    settings = context.config.chat_eval
    tokenizer = Tokenizer.load(context.run.tokenizer)
    for task in settings.tasks:
        prepare_task(task, data_home(), context.progress)
    sets = [s for task in settings.tasks for s in load_problems(task, data_home(), settings.max_per_task)]
    _ChatEvaluation(context, load_model(newest, device), tokenizer, step).run(sets)


class _ChatEvaluation:
    """One evaluation of one model."""

    def __init__(self, context: StageContext, model: GPT, tokenizer: Tokenizer, step: int) -> None:
        self._context = context
        self._model = model
        self._tokenizer = tokenizer
        self._step = step
        self._rows = context.config.chat_eval.batch_size
        self._tokens = token_budget(model)

    def run(self, sets: Sequence[ChatProblems]) -> None:
        history = read_history(self._context.run.events_file)
        here = (self._context.stage, self._step)
        known = {(e.metric, e.examples): e.value for e in history.evaluations if (e.stage, e.step) == here}
        scores: list[tuple[ChatProblems, float]] = []
        ended: list[bool] = []
        for problems in sets:
            accuracy = known.get((problems.metric, len(problems.problems)))
            if accuracy is None:
                began = time.perf_counter()
                graded = self._in_memory(partial(self._answer, problems))
                ended += graded.ended if not problems.problems[0].choices else []
                accuracy = sum(graded.right) / len(graded.right)
                self._emit(problems.metric, accuracy, began, problems.baseline, len(graded.right))
                self._show(problems, graded)
            scores.append((problems, accuracy))
        began = time.perf_counter()
        if ended:
            self._emit(ENDS, sum(ended) / len(ended), began, None, len(ended))
        mean = math.fsum(centered(accuracy, each.baseline) for each, accuracy in scores) / max(1, len(scores))
        self._emit(METRIC, mean, began, 0.0, sum(len(each.problems) for each, _ in scores))
        if not any((s.stage, s.step, s.task) == (*here, kinds.CONVERSATION) for s in history.samples):
            self._sample_conversations()

    def _in_memory(self, work: Callable[[], Result]) -> Result:
        """Do the work again in smaller batches where memory runs out."""
        while True:
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error, self._model.device.type) or self._rows <= 1:
                    raise
            release_memory(self._model.device.type)
            self._rows, self._tokens = self._rows // 2, self._tokens // 2

    def _answer(self, problems: ChatProblems) -> GradedAnswers:
        found = problems.problems
        unit = f"answers to {problems.metric.removeprefix('chat/')}"
        if found[0].choices:
            return answer_multiple_choice(self._model, self._tokenizer, found, self._tokens)
        right: list[bool] = []
        ended: list[bool] = []
        answers: list[str] = []
        portion = 8 * self._rows  # so that progress is reported
        for start in range(0, len(found), portion):
            some = found[start : start + portion]
            graded = write_answers(
                self._model, self._tokenizer, some, self._context.config.chat_eval.max_new_tokens, self._rows
            )
            right += graded.right
            ended += graded.ended
            answers += graded.answers
            self._context.progress(len(right), len(found), unit)
        return GradedAnswers(right, ended, answers)

    def _emit(self, metric: str, value: float, began: float, baseline: float | None, examples: int) -> None:
        guessing = f", {baseline:.4f} by guessing" if baseline else ""
        print(f"{metric}: {value:.4f} of {examples:,}{guessing}")
        self._context.emit(
            kinds.Evaluation(
                stage=self._context.stage,
                step=self._step,
                metric=metric,
                value=value,
                seconds=time.perf_counter() - began,
                baseline=baseline,
                examples=examples,
            )
        )

    def _show(self, problems: ChatProblems, graded: GradedAnswers) -> None:
        for index in chosen(graded.right):
            prompt = problems.problems[index].prompt[-1].content
            assert isinstance(prompt, str)
            self._sample(prompt, graded.answers[index], problems.metric, graded.right[index])

    def _sample_conversations(self) -> None:
        most = self._context.config.chat_eval.max_new_tokens
        for said in self._in_memory(lambda: sample_conversations(self._model, self._tokenizer, most, self._rows)):
            *before, prompt, text = said
            self._sample(prompt, text, kinds.CONVERSATION, None, tuple(before))

    def _sample(self, prompt: str, text: str, task: str, right: bool | None, before: tuple[str, ...] = ()) -> None:
        self._context.emit(
            kinds.Sample(
                stage=self._context.stage,
                step=self._step,
                prompt=prompt,
                text=text,
                task=task,
                right=right,
                before=before,
            )
        )


def chosen(right: Sequence[bool]) -> list[int]:
    """Which answers to show: the first right and the first wrong one, or the first two where all have one grade."""
    first = [list(right).index(kind) for kind in (True, False) if kind in right]
    return sorted(first) if len(first) == SHOWN else list(range(min(SHOWN, len(right))))
