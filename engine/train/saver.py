"""Saves the checkpoints of a stage while it trains, removes old ones, and retries when the disk is full."""

import math
import shutil
import time
from types import TracebackType

import msgspec
import torch

from engine.checkpoint.async_writer import CheckpointWriter, Written
from engine.checkpoint.checkpoint import TrainingState, read_state, remove_leftovers, warning_of, whole_checkpoint
from engine.checkpoint.retention import expendable, is_permanent
from engine.core.atomic_io import DiskFull
from engine.core.errors import NanosoloError
from engine.events import kinds
from engine.events.history import History
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.run.checkpoints import list_checkpoints
from engine.run.stage_context import StageContext

RETRY_SECONDS = 60.0  # after a failed write, while training continues
PATIENCE = 600.0  # seconds to wait for disk space when training is done: somebody may free some
STOP_PATIENCE = 15.0  # when it is to stop: the machine may go within 30 s
PAUSE = 3.0  # between attempts while waiting


class Saver:
    """The checkpoints of one stage. Close it, or use it as a context manager: a write under way is then finished."""

    def __init__(self, context: StageContext, model: GPT, optimizer: Optimizer, step: int, history: History) -> None:
        """`step`: of the checkpoint that training continues from, 0 without one."""
        self.step = step  # of the newest valid checkpoint
        self._context = context
        self._emit = context.emit
        self._config = context.config.checkpoint
        self._stage = context.stage
        self._folder = context.run.checkpoints(context.stage)
        self._weights = list(model.state_dict().values())
        self._writer = CheckpointWriter(self._folder, model, optimizer, context.sync)
        self._stall = 0.0  # seconds for which training stood still for the write under way
        self._retry_at = math.inf
        self._warned = -1  # the step whose failed checkpoint was reported
        self._bits_per_byte = {
            event.step: event.value
            for event in history.evaluations
            if event.stage == self._stage and event.metric == "val_bpb"
        }

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._collect(self._writer.wait())
        self._writer.close()

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint belongs after `step`, by plan, on request, or because the last attempt failed."""
        every = self._config.every_steps
        return (
            (every > 0 and step % every == 0)
            or is_permanent(step, self._config)
            or self._context.checkpoint_asked
            or time.monotonic() >= self._retry_at
        )

    def weights_are_finite(self) -> bool:
        """Whether the weights are worth keeping."""
        norms = torch._foreach_norm(self._weights)
        return bool(torch.isfinite(torch.stack([norm.float() for norm in norms])).all())

    def begin(self, state: TrainingState) -> None:
        """Write a checkpoint while training continues."""
        self._context.checkpoint_asked = False
        began = time.monotonic()
        self.settle()
        self._writer.start(state)
        self._stall = time.monotonic() - began

    def hold_still(self) -> None:
        """Before the weights change: wait until a write that is under way has its copy of them."""
        began = time.monotonic()
        self._writer.hold_still()
        self._stall += time.monotonic() - began

    def look(self) -> None:
        """Take note of a write that has ended."""
        self._collect(self._writer.poll())

    def settle(self) -> None:
        """Wait for a write that is under way."""
        self._collect(self._writer.wait())

    def finish(self, state: TrainingState) -> None:
        """Return once a checkpoint of this state is on the disk.

        Makes room and waits for it. Raises NanosoloError when there is none in the end.
        """
        self.settle()
        began = time.monotonic()
        while self.step != state.step:
            self._writer.start(state)
            written = self._writer.wait()
            self._stall = time.monotonic() - began
            self._collect(written)
            if self.step == state.step:
                return
            patience = STOP_PATIENCE if self._context.stop_asked else PATIENCE
            if time.monotonic() - began > patience:
                raise NanosoloError(
                    f"{written.problem if written else ''} There is no checkpoint of step {state.step}: "
                    f"resume continues from step {self.step}."
                )
            time.sleep(PAUSE)

    def evaluated(self, step: int, bits_per_byte: float) -> None:
        """Note what the validation after a step gave: the best checkpoint is the one to keep."""
        self._bits_per_byte[step] = bits_per_byte

    def _collect(self, written: Written | None) -> None:
        if written is None:
            return
        if written.saved is None:
            self._failed(written)
            return
        self._retry_at = math.inf
        self.step = written.step
        saved = written.saved
        self._emit(
            kinds.Checkpoint(
                stage=self._stage,
                step=saved.step,
                path=str(saved.path.relative_to(self._context.run.path)),
                bytes=saved.bytes,
                seconds=saved.seconds,
                stall_seconds=self._stall,
            )
        )
        there = list_checkpoints(self._folder)
        for step in expendable(list(there), self._config, self._bits_per_byte):
            shutil.rmtree(there[step], ignore_errors=True)  # one that cannot be removed is no reason to stop

    def _failed(self, written: Written) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        removed = self._make_room() if isinstance(written.problem, DiskFull) else 0
        if self._warned == written.step and not removed:
            return  # still waiting for the same
        self._warned = written.step
        freed = f" Removed {removed} older checkpoints to make room." if removed else ""
        message = (
            f"{written.problem}{freed} The newest checkpoint is of step {self.step}; the next attempt is within "
            f"{RETRY_SECONDS:.0f} s."
        )
        self._emit(kinds.Warning(stage=self._stage, step=written.step, code="checkpoint_failed", message=message))

    def _make_room(self) -> int:
        """Remove checkpoints that are not kept permanently, down to one valid checkpoint. Returns how many."""
        remove_leftovers(self._folder)
        only_one = msgspec.structs.replace(self._config, keep_last=1)
        going = expendable(list(list_checkpoints(self._folder)), only_one, self._bits_per_byte)
        if not going:
            return 0
        try:
            newest = whole_checkpoint(self._folder, lambda step, what: self._emit(warning_of(self._stage, step, what)))
        except NanosoloError:
            return 0  # none is valid: remove nothing
        assert newest is not None
        self.step = read_state(newest).step
        there = list_checkpoints(self._folder)  # without those that were found damaged
        going = expendable(list(there), only_one, self._bits_per_byte)
        for step in going:
            shutil.rmtree(there[step], ignore_errors=True)
        return len(going)
