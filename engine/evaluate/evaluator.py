"""Evaluations and samples of a run: bits per byte on held-out text, continuations of its prompts, each as an event."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from engine.config.schema import RunConfig
from engine.core.errors import Interrupted
from engine.data.corpora.corpus import Split
from engine.data.loader import evaluation_batches
from engine.data.tokenizer import Tokenizer
from engine.data.tokens import TokenSet
from engine.device.device import capacity, is_out_of_memory, peak_memory, release_memory
from engine.evaluate.bits_per_byte import bits_per_byte
from engine.events import kinds
from engine.inference.decoder import generate
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.model.trunk import Trunk
from engine.run.stage_context import StageContext

Item = TypeVar("Item")


class BatchedEvaluator:
    """Evaluates one model of one run in batches. When memory runs out, the batch shrinks, then the evaluation is
    skipped; the run continues."""

    def __init__(
        self, context: StageContext, model: GPT, trunk: Trunk, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """`trunk`: model.trunk or its compiled form. `interrupted`: called before each batch and each new token; true
        interrupts."""
        self._interrupted = interrupted
        self._context = context
        self._config: RunConfig = context.config
        self._model = model
        self._compiled_trunk = trunk
        self._rows = self._config.batch.device_batch_size

    def _evaluate(self, metric: str, step: int, measure: Callable[[], float]) -> float | None:
        """What `measure` gives, emitted as an event; None when memory does not suffice. Raises Interrupted."""
        began = time.perf_counter()
        while True:
            try:
                value = measure()
                break
            except Exception as error:
                if not is_out_of_memory(error, self._model.device.type):
                    raise
            if not self._shrink(step):
                return None
        seconds = time.perf_counter() - began
        self._context.emit(
            kinds.Evaluation(stage=self._context.stage, step=step, metric=metric, value=value, seconds=seconds)
        )
        return value

    def sample(self, step: int) -> None:
        """Emit what the model generates; where memory does not suffice, an event of that. Raises Interrupted."""
        if not self._config.evaluate.sample_tokens:
            return
        try:
            self._sample(step)
            return
        except Exception as error:
            if not is_out_of_memory(error, self._model.device.type):
                raise
        self._report_memory(step, "sampling", "these samples are skipped")

    def _sample(self, step: int) -> None:
        """Generate and emit."""
        raise NotImplementedError

    def _emit_samples(self, step: int, texts: Iterable[tuple[str, str]]) -> None:
        """Emit (prompt, text) of all samples of a step. All or none: after a resume, a step without samples draws them
        again."""
        for prompt, text in texts:
            self._context.emit(kinds.Sample(stage=self._context.stage, step=step, prompt=prompt, text=text))

    def _unless_interrupted(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items as they come. Raises Interrupted once a stop is requested."""
        for item in items:
            if self._interrupted():
                raise Interrupted
            yield item

    def _trunk(self, tokens: Tensor) -> Tensor:
        if self._interrupted():
            raise Interrupted
        # compiling takes a minute: not worth it for a last, smaller batch
        whole = len(tokens) == self._config.batch.device_batch_size
        return self._compiled_trunk(tokens) if whole else self._model.trunk(tokens)

    def _shrink(self, step: int) -> bool:
        """Halve the evaluation's own batch; False when it is 1 already."""
        smaller = self._rows // 2
        action = f"evaluating {smaller} sequences at a time" if smaller else "this evaluation is skipped"
        self._report_memory(step, "evaluation", action)
        self._rows = max(1, smaller)
        return smaller > 0

    def _report_memory(self, step: int, phase: str, action: str) -> None:
        device = self._model.device.type
        release_memory(device)
        self._context.emit(
            kinds.OutOfMemory(
                stage=self._context.stage,
                step=step,
                phase=phase,
                requested=None,
                allocated=peak_memory(device),
                capacity=capacity(device),
                action=action,
            )
        )


class TextEvaluator(BatchedEvaluator):
    """Evaluates by bits per byte on the run's own corpus, and samples."""

    metric = "val_bpb"

    def __init__(
        self,
        context: StageContext,
        model: GPT,
        trunk: Trunk,
        tokenizer: Tokenizer,
        tokens: TokenSet,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(context, model, trunk, interrupted)
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._token_bytes = torch.from_numpy(tokenizer.token_bytes())

    def validation(self, step: int) -> float | None:
        """Bits per byte on the validation split; None when it could not be evaluated. Raises Interrupted."""
        return self._evaluate(self.metric, step, lambda: self._measure("validation"))

    def training(self, step: int) -> float | None:
        """Bits per byte on as much of the training split."""
        return self._evaluate("train_bpb", step, lambda: self._measure("train"))

    def _sample(self, step: int) -> None:
        """Continue each prompt. The draw depends on seed, step and prompt only, so resuming changes no sample."""
        config, drawn_texts = self._config.evaluate, []
        for number, prompt in enumerate(config.prompts):
            ids = [self._tokenizer.bos_id, *self._tokenizer.encode(prompt)]
            seed = (self._config.runtime.seed * 1_000_003 + step) * 101 + number
            sampling = Sampling(temperature=config.temperature)
            drawn = generate(self._model, ids, config.sample_tokens, sampling, seed, {self._tokenizer.bos_id})
            drawn_texts.append((prompt, self._tokenizer.decode(list(self._unless_interrupted(drawn)))))
        self._emit_samples(step, drawn_texts)

    def _measure(self, split: Split) -> float:
        config = self._config
        pairs = evaluation_batches(self._tokens, split, self._rows, config.model.max_seq_len, config.evaluate.tokens)
        return bits_per_byte(self._model, self._trunk, pairs, self._token_bytes, config.batch.loss_chunk_tokens)
