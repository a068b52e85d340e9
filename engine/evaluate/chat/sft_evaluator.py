"""Evaluates a model while it trains on conversations: the loss of held-out answers, and sample answers."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from engine.data.chat.conversation import Message, prompt_of
from engine.data.chat.dataset import PackedRows
from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.answers import GREEDY, show_answer, stop_ids
from engine.evaluate.evaluator import BatchedEvaluator
from engine.inference.calculator import Calculator
from engine.inference.decoder import Request, generate_all
from engine.model.gpt import GPT
from engine.model.loss import per_token_nats
from engine.model.trunk import Trunk
from engine.run.stage_context import StageContext

QUESTIONS = ("Who are you?", "What is 3 + 4?", "Spell the word river.", "What is a list in Python?")


class SftEvaluator(BatchedEvaluator):
    """Emits `val_loss`, mean nats per token of held-out answers, and answers to a few questions."""

    metric = "val_loss"

    def __init__(
        self,
        context: StageContext,
        model: GPT,
        trunk: Trunk,
        tokenizer: Tokenizer,
        rows: PackedRows | None,
        interrupted: Callable[[], bool],
    ) -> None:
        """`rows`: of the validation split; None where it has none."""
        super().__init__(context, model, trunk, interrupted)
        self._tokenizer = tokenizer
        self._validation = rows

    def validation(self, step: int) -> float | None:
        """Mean nats per token of held-out answers; None when it could not be evaluated. Raises Interrupted."""
        held_out = self._validation
        return None if held_out is None else self._evaluate(self.metric, step, lambda: self._measure(held_out))

    def _sample(self, step: int) -> None:
        """The most probable answer to each question. Raises Interrupted."""
        requests = [
            Request(
                key=number,
                prompt=prompt_of((Message("user", question),), self._tokenizer),
                max_new_tokens=self._config.evaluate.sample_tokens,
                sampling=GREEDY,
                stop_ids=stop_ids(self._tokenizer),
                force=Calculator(self._tokenizer),
            )
            for number, question in enumerate(QUESTIONS)
        ]
        answers = generate_all(self._model, requests, len(requests), self._interrupted)
        texts = [show_answer(self._tokenizer, written) for written in answers]
        self._emit_samples(step, zip(QUESTIONS, texts, strict=True))

    @torch.no_grad()
    def _measure(self, held_out: PackedRows) -> float:
        nats = torch.zeros((), dtype=torch.float64, device=self._model.device)
        count = 0
        for tokens, targets in self._batches(held_out):
            hidden = self._trunk(tokens.to(self._model.device, non_blocking=True)).flatten(0, 1)
            count += int((targets >= 0).sum())
            flat = targets.flatten().to(self._model.device, non_blocking=True)
            losses = per_token_nats(hidden, self._model.head.weight, flat, self._config.batch.loss_chunk_tokens)
            nats += losses.sum(dtype=torch.float64)
        return float(nats) / count

    def _batches(self, held_out: PackedRows) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows spread evenly over the split, as many as the token budget allows."""
        there = held_out.rows
        wanted = min(there, max(1, self._config.evaluate.tokens // self._config.model.max_seq_len))
        chosen = np.arange(wanted) * there // wanted
        for start in range(0, wanted, self._rows):
            yield held_out.gather(chosen[start : start + self._rows])
