"""The stage rl: the model answers problems many times over, and answers better than its average become likelier."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.config.stage_overrides import problem_steps, stage_config
from engine.core.paths import data_home
from engine.data.chat.conversation import prompt_of
from engine.data.loader import Batch, RowSource
from engine.data.order import permutation
from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.judge import is_right, show_answer, stop_ids
from engine.evaluate.chat.problems import Problem, training_problems
from engine.evaluate.evaluator import BatchedEvaluator
from engine.events import kinds
from engine.inference.calculator import Calculator
from engine.inference.decoder import Request, Token, generate_all
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.model.loss import IGNORED, summed_loss
from engine.model.trunk import Trunk
from engine.optim.optimizer import Optimizer, clip_gradients
from engine.run.stage_context import StageContext
from engine.stages.sft import begin_from_stage_before
from engine.train.step import StepBatches, StepResult, StepRunner
from engine.train.training import Judge, train

PASSES = 8  # answers to each held-out problem
_HELD_OUT_SEED = 42  # of the shuffle that an evaluation takes the beginning of


def reinforce(context: StageContext) -> None:
    """Learn from rewards to the last step, from the stage's newest checkpoint or from the stage before.

    Raises what `engine.train.training.train` raises.
    """
    context.config = stage_config(context.config, context.stage)
    train(context, Reinforcement)


class ProblemRows:
    """Numbers of problems as a row source of the loader."""

    def __init__(self, count: int) -> None:
        self.rows = count

    def gather(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """(numbers (B, 1), the same)."""
        numbers = torch.from_numpy(rows.astype(np.int64)).unsqueeze(1)
        return numbers, numbers

    def describe(self) -> str:
        return f"there are {self.rows:,} problems"


class Reinforcement:
    """The course of reinforcement learning: policy gradient, on policy, without a reference model (nanochat)."""

    loss_falls = False

    def __init__(self, context: StageContext) -> None:
        self._context = context
        settings = context.config.rl
        self._tokenizer = Tokenizer.load(context.run.tokenizer)
        self._problems = training_problems(settings.task, data_home(), "train", context.progress)
        held_out = training_problems(settings.task, data_home(), "validation", context.progress)
        order = permutation(len(held_out), _HELD_OUT_SEED, 0)[: settings.evaluate_problems]
        self._held_out = [held_out[i] for i in order]
        self.rows: RowSource = ProblemRows(len(self._problems))
        self.steps = problem_steps(settings, len(self._problems))

    def begin(self, model: GPT) -> None:
        begin_from_stage_before(self._context, model)

    def stepper(
        self, model: GPT, trunk: Trunk, optimizer: Optimizer, splits: int, interrupted: Callable[[], bool]
    ) -> StepRunner:
        # answers differ in length from pass to pass: a compiled trunk would be compiled for each
        return PolicyStepper(self._context, model, optimizer, splits, self._tokenizer, self._problems, interrupted)

    def judge(self, model: GPT, trunk: Trunk, interrupted: Callable[[], bool]) -> Judge:
        return PassJudge(self._context, model, self._tokenizer, self._held_out, interrupted)


class Answer(NamedTuple):
    """One answer to a problem."""

    prompt: list[int]
    tokens: list[Token]
    reward: float


class PolicyStepper(StepRunner):
    """Steps on the policy's gradient: for each answer, (its reward - the mean of its problem's answers) times the
    logarithm of its probability, summed over the tokens that the model chose; for each problem divided by the number
    of these tokens in all its answers; averaged over the problems. Nothing holds the policy near its beginning and
    nothing is clipped but the gradient's norm, as every answer is drawn from the weights that it changes (nanochat).
    """

    def __init__(
        self,
        context: StageContext,
        model: GPT,
        optimizer: Optimizer,
        splits: int,
        tokenizer: Tokenizer,
        problems: Sequence[Problem],
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(
            model, model.trunk, optimizer, context.config, context.stage, context.emit, splits, interrupted
        )
        self._tokenizer = tokenizer
        self._problems = problems
        self._settings = context.config.rl
        self._rewards: list[float] = []

    def run(
        self,
        loader: Iterator[Batch],
        step: int,
        learning_rate_scale: float,
        momentum: float,
        is_acceptable: Callable[[int, float], bool],
    ) -> StepResult:
        """As of every stage; tells the mean reward of the step's answers."""
        result = super().run(loader, step, learning_rate_scale, momentum, is_acceptable)
        self._emit(
            kinds.Evaluation(
                stage=self._stage,
                step=step,
                metric="reward",
                value=sum(self._rewards) / len(self._rewards),
                seconds=0.0,
                examples=len(self._rewards),
            )
        )
        return result

    def _accumulate(self, batches: StepBatches) -> tuple[Tensor, Tensor]:
        """(sum over problems of the loss, gradient norm); gradients of the mean are left in place."""
        total = torch.zeros((), device=self._model.device)
        place = batches.state
        self._rewards, self._tokens = [], 0
        numbers = batches.take().tokens.flatten().tolist()
        rows = self._rows_at_a_time()
        self._model.eval()
        for number in numbers:
            answers = answers_to(
                self._model,
                self._tokenizer,
                self._problems[number],
                self._settings.samples_per_problem,
                self._settings.max_new_tokens,
                Sampling(temperature=self._settings.temperature, top_k=self._settings.top_k),
                f"{self._config.runtime.seed} {place.epoch} {place.row} {number}",
                rows,
                self._interrupted,
            )
            self._rewards += [answer.reward for answer in answers]
            self._tokens += sum(len(answer.tokens) for answer in answers)
            total += self._learn(answers, rows, len(numbers))
        if all(weight.grad is None for weight in self._model.parameters()):
            return total, torch.zeros_like(total)  # all answers were alike: there is nothing to learn from
        return total, clip_gradients(self._model, self._config.optim.grad_clip)

    def _rows_at_a_time(self) -> int:
        """Answers, here: a row of the batch is a problem."""
        return -(-self._settings.device_batch_size // self.splits)

    def _learn(self, answers: Sequence[Answer], rows: int, problems: int) -> Tensor:
        """Add the gradient of one problem's loss / `problems`, `rows` answers at a time. Returns the loss."""
        loss = torch.zeros((), device=self._model.device)
        mean = sum(answer.reward for answer in answers) / len(answers)
        chosen = sum(not token.forced for answer in answers for token in answer.tokens)
        # those of one reward lie together, as the loss of each reward is a pass of its own
        some = sorted((a for a in answers if a.reward != mean), key=lambda answer: answer.reward)
        for start in range(0, len(some), rows):
            self._go_on()
            part = some[start : start + rows]
            tokens, targets = pad_answers(part, self._model.device)
            hidden = self._trunk(tokens)
            objective = torch.zeros_like(loss)
            for reward in sorted({answer.reward for answer in part}):
                same = [i for i, answer in enumerate(part) if answer.reward == reward]
                nats = summed_loss(
                    hidden[same].flatten(0, 1),
                    self._model.head.weight,
                    targets[same].flatten(),
                    self._config.batch.loss,
                    self._config.batch.loss_chunk_tokens,
                )
                objective = objective + (reward - mean) / chosen * nats
            (objective / problems).backward()
            loss += objective.detach()
        return loss


class PassJudge(BatchedEvaluator):
    """Emits `pass@1`, the share of right answers to held-out problems, and `pass@8`, that of problems with a right one
    among eight answers."""

    metric = "pass@1"

    def __init__(
        self,
        context: StageContext,
        model: GPT,
        tokenizer: Tokenizer,
        problems: Sequence[Problem],
        interrupted: Callable[[], bool],
    ) -> None:
        super().__init__(context, model, model.trunk, interrupted)
        self._tokenizer = tokenizer
        self._problems = problems
        self._rows = context.config.rl.device_batch_size
        self._any = 0.0

    def validation(self, step: int) -> float | None:
        """None: by these figures no checkpoint is the best, as higher is better."""
        if self._evaluate(self.metric, step, lambda: self._measure(step)) is not None:
            self._evaluate(f"pass@{PASSES}", step, lambda: self._any)
        return None

    def _sample(self, step: int) -> None:
        """An answer to each of the first few held-out problems."""
        texts = []
        for problem in self._problems[:3]:
            (answer,) = self._answers(problem, 1, f"sample {step}")
            texts.append((str(problem.prompt[-1].content), show_answer(self._tokenizer, answer.tokens)))
        self._tell_samples(step, texts)

    def _measure(self, step: int) -> float:
        right, solved = 0.0, 0
        for number, problem in enumerate(self._problems):
            rewards = [answer.reward for answer in self._answers(problem, PASSES, f"evaluation {step} {number}")]
            right += sum(rewards)
            solved += max(rewards) > 0
        self._any = solved / len(self._problems)
        return right / (PASSES * len(self._problems))

    def _answers(self, problem: Problem, count: int, seed: str) -> list[Answer]:
        settings = self._config.rl
        sampling = Sampling(temperature=settings.temperature, top_k=settings.top_k)
        return answers_to(
            self._model,
            self._tokenizer,
            problem,
            count,
            settings.max_new_tokens,
            sampling,
            seed,
            self._rows,
            self._interrupted,
        )


def answers_to(
    model: GPT,
    tokenizer: Tokenizer,
    problem: Problem,
    count: int,
    max_new_tokens: int,
    sampling: Sampling,
    seed: str,
    rows: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """`count` answers, drawn `rows` at a time, each with a reward of 1 when it is right, else 0. The same seed gives
    the same answers whatever `rows` is, up to rounding. Raises Interrupted."""
    prompt = prompt_of(problem.prompt, tokenizer)
    requests = [
        Request(
            key=number,
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            seed=_number(f"{seed} {number}"),
            stop_ids=stop_ids(tokenizer),
            force=Calculator(tokenizer),
        )
        for number in range(count)
    ]
    written = generate_all(model, requests, rows, interrupted)
    return [Answer(prompt, tokens, float(is_right(problem, tokenizer, tokens))) for tokens in written]


def pad_answers(answers: Sequence[Answer], device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts with their answers as (tokens, targets), each (B, T) int64: targets are the tokens that the model chose,
    -1 elsewhere. Padding stands on the right."""
    longest = max(len(answer.prompt) + len(answer.tokens) for answer in answers) - 1
    tokens = np.zeros((len(answers), longest), np.int64)
    targets = np.full((len(answers), longest), IGNORED, np.int64)
    for row, answer in enumerate(answers):
        ids = answer.prompt + [token.id for token in answer.tokens]
        tokens[row, : len(ids) - 1] = ids[:-1]
        first = len(answer.prompt) - 1
        targets[row, first : len(ids) - 1] = [IGNORED if token.forced else token.id for token in answer.tokens]
    return (
        torch.from_numpy(tokens).to(device, non_blocking=True),
        torch.from_numpy(targets).to(device, non_blocking=True),
    )


def _number(text: str) -> int:
    """A seed from words, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
