"""One optimizer step: accumulate over micro-batches, check, update; replay in smaller pieces when memory runs out."""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from engine.config.schema import RunConfig
from engine.core.errors import EXIT_OUT_OF_MEMORY, Interrupted, NanosoloError
from engine.data.loader import Batch, LoaderState
from engine.device.device import capacity, is_out_of_memory, peak_memory, release_memory
from engine.events import kinds
from engine.model.gpt import GPT
from engine.model.loss import summed_loss
from engine.optim.optimizer import Optimizer, clip_gradients
from engine.plan.batch import grad_accum_steps, tokens_per_step

Trunk = Callable[[Tensor], Tensor]


class OutOfMemory(NanosoloError):
    """Memory ran out and nothing smaller is left to try here."""

    exit_code = EXIT_OUT_OF_MEMORY


class NotFinite(Exception):
    """Loss, gradient norm or weights are not numbers at `step`."""

    def __init__(self, what: str, step: int, loader: LoaderState) -> None:
        super().__init__(what)
        self.step = step
        self.loader = loader  # where the step's data ends


class StepResult(NamedTuple):
    """What a step was like."""

    loss: float  # mean nats per target that counts, over the whole accumulated batch
    grad_norm: float  # before clipping
    tokens: int  # that were processed, padding included
    loader: LoaderState  # where the next step's data begins
    data_seconds: float  # spent waiting for data


class StepBatches:
    """The batches of one step, kept so that the step can be done over with the same data."""

    def __init__(self, loader: Iterator[Batch], count: int) -> None:
        began = time.perf_counter()
        self._taken = [next(loader) for _ in range(count)]
        self.seconds = time.perf_counter() - began
        self.state = self._taken[-1].state  # where to continue after the step
        # of the whole step, so it must be known before its first gradient; a step of which nothing counts does nothing
        self.counted = max(1, sum(batch.counted for batch in self._taken))
        self._next = 0

    def take(self) -> Batch:
        """The next batch of the step, from the first again after `rewind`."""
        self._next += 1
        return self._taken[self._next - 1]

    def rewind(self) -> None:
        """Begin the step again."""
        self._next = 0


class StepRunner:
    """Runs optimizer steps of one stage."""

    def __init__(
        self,
        model: GPT,
        trunk: Trunk,
        optimizer: Optimizer,
        config: RunConfig,
        stage: str,
        emit: Callable[[kinds.Event], None],
        splits: int,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """`trunk`: model.trunk or its compiled form. `splits`: into how many parts each batch is cut. `interrupted`:
        asked before each part; true breaks the step off."""
        self.splits = splits
        self._interrupted = interrupted
        self._model = model
        self._trunk = trunk
        self._compiled = trunk != model.trunk  # the loss is compiled where the trunk is
        self._optimizer = optimizer
        self._config = config
        self._stage = stage
        self._emit = emit
        self._device = model.device.type
        self._accumulation = grad_accum_steps(config)
        self._tokens = tokens_per_step(config)

    def run(
        self,
        loader: Iterator[Batch],
        step: int,
        learning_rate_scale: float,
        momentum: float,
        is_acceptable: Callable[[int, float], bool],
    ) -> StepResult:
        """Do step number `step` (from 1) on the next batches. The update is left out where `is_acceptable`, given step
        and loss, says no.

        Raises Interrupted and NotFinite before the weights are touched, with the gradients dropped; OutOfMemory when
        the batch cannot be cut further.
        """
        batches = StepBatches(loader, self._accumulation)
        while True:
            problem: BaseException | None = None
            try:
                total, norm = self._accumulate(batches)
            except Interrupted:
                self._optimizer.zero_grad()
                raise
            except Exception as error:
                if not is_out_of_memory(error, self._device):
                    raise
                problem = error
            if problem is None:
                break
            # outside the except clause: the traceback's frames, which hold activations, are gone
            message = str(problem) or type(problem).__name__  # a MemoryError says nothing
            del problem
            self._shrink(step, message)
            batches.rewind()
        # the one synchronisation of the step; nothing is updated before both are known to be numbers
        loss_sum, grad_norm = torch.stack([total, norm.float()]).tolist()
        loss = loss_sum / batches.counted
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            self._optimizer.zero_grad()
            raise NotFinite(f"loss {loss:g}, gradient norm {grad_norm:g}", step, batches.state)
        if is_acceptable(step, loss):
            self._update(step, learning_rate_scale, momentum)
        else:
            self._optimizer.zero_grad()
        return StepResult(loss, grad_norm, self._tokens, batches.state, batches.seconds)

    def _accumulate(self, batches: StepBatches) -> tuple[Tensor, Tensor]:
        """(sum of nats, gradient norm) of all micro-batches, on the device; gradients of the mean are left in place."""
        total = torch.zeros((), device=self._model.device)
        batch_config = self._config.batch
        for _ in range(self._accumulation):
            batch = batches.take()
            for tokens, targets in zip(batch.tokens.chunk(self.splits), batch.targets.chunk(self.splits), strict=True):
                self._go_on()
                nats = summed_loss(
                    self._trunk(tokens).flatten(0, 1),
                    self._model.head.weight,
                    targets.flatten(),
                    batch_config.loss,
                    batch_config.loss_chunk_tokens,
                    self._compiled,
                )
                # over all targets that count in the whole step: no mean of means, however it is cut
                (nats / batches.counted).backward()
                total += nats.detach()
        return total, clip_gradients(self._model, self._config.optim.grad_clip)

    def _go_on(self) -> None:
        """Raises Interrupted once a stop is requested."""
        if self._interrupted():
            raise Interrupted

    def _update(self, step: int, learning_rate_scale: float, momentum: float) -> None:
        try:
            self._optimizer.step(learning_rate_scale, momentum)
        except Exception as error:
            if not is_out_of_memory(error, self._device):
                raise
            # some weights are updated already, so this step cannot be replayed: resume from the checkpoint
            self._report(step, "optimizer", "stopped; resume continues from the last checkpoint")
            raise OutOfMemory(
                f"out of memory in the optimizer step {step}: close other programs on the device, then resume."
            ) from None
        self._optimizer.zero_grad()

    def _shrink(self, step: int, message: str) -> None:
        """Cut every batch in half from now on, or give up with advice."""
        self._optimizer.zero_grad()
        release_memory(self._device)
        rows = self._rows_at_a_time()
        if self._config.runtime.on_oom == "stop" or rows <= 1:
            self._report(step, "forward and backward", "stopped")
            raise OutOfMemory(
                f"out of memory at step {step} with {rows} sequences at a time "
                f"({message.splitlines()[0]}). Set batch.activation_checkpointing = block, "
                "or a smaller model.max_seq_len or model.depth."
            )
        self.splits *= 2
        self._report(
            step,
            "forward and backward",
            f"replaying the same batch with {self._rows_at_a_time()} sequences at a time",
        )

    def _rows_at_a_time(self) -> int:
        """Sequences in the largest piece of a batch that is cut into `splits`."""
        return -(-self._config.batch.device_batch_size // self.splits)

    def _report(self, step: int, phase: str, action: str) -> None:
        self._emit(
            kinds.OutOfMemory(
                stage=self._stage,
                step=step,
                phase=phase,
                requested=None,
                allocated=peak_memory(self._device),
                capacity=capacity(self._device),
                action=action,
            )
        )
