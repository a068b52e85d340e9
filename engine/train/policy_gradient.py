"""Optimizer steps on rewards: draws answers to problems, and raises the probability of those better than average."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.data.loader import Batch
from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.problems import Problem
from engine.evaluate.chat.rollouts import Rollout, sample_rollouts
from engine.events import kinds
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.model.loss import IGNORED, summed_loss
from engine.optim.optimizer import Optimizer, clip_gradients
from engine.run.stage_context import StageContext
from engine.train.step import StepBatches, StepResult, StepRunner


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


class PolicyGradientRunner(StepRunner):
    """Steps on the policy's gradient: for each answer, (its reward - the mean of its problem's answers) times the
    logarithm of its probability, summed over the tokens that the model chose; for each problem divided by the number
    of these tokens in all its answers; averaged over the problems. Nothing keeps the policy near its initial weights,
    and only the gradient's norm is clipped, as every answer is drawn from the weights that it changes (nanochat).
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
        """As in every stage; also emits the mean reward of the step's answers."""
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
            answers = sample_rollouts(
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

    def _learn(self, answers: Sequence[Rollout], rows: int, problems: int) -> Tensor:
        """Add the gradient of one problem's loss / `problems`, `rows` answers at a time. Returns the loss."""
        loss = torch.zeros((), device=self._model.device)
        mean = sum(answer.reward for answer in answers) / len(answers)
        chosen = sum(not token.forced for answer in answers for token in answer.tokens)
        # those of one reward lie together, as the loss of each reward is a pass of its own
        some = sorted((a for a in answers if a.reward != mean), key=lambda answer: answer.reward)
        for start in range(0, len(some), rows):
            self._go_on()
            part = some[start : start + rows]
            tokens, targets = pad_rollouts(part, self._model.device)
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


def pad_rollouts(answers: Sequence[Rollout], device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts with their answers as (tokens, targets), each (B, T) int64: targets are the tokens that the model chose,
    -1 elsewhere. Padding is on the right."""
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
