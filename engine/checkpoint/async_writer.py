"""Writes checkpoints in a thread, from a copy in host memory, while training continues."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from engine.checkpoint.checkpoint import MODEL_FILE, OPTIMIZER_FILE, SavedCheckpoint, TrainingState, write_checkpoint
from engine.core.errors import NanosoloError
from engine.hardware.detect import memory_available
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.host_memory import pinned

Tensors = dict[str, dict[str, Tensor]]  # file name -> tensors by name


class Written(NamedTuple):
    """How a write ended."""

    step: int
    saved: SavedCheckpoint | None  # None: it failed
    problem: NanosoloError | None


class CheckpointWriter:
    """One write at a time. Weights change only in the optimizer's update, so the copy is made while the next step runs
    forward and backward, and the update waits for it: what is written is of one step."""

    def __init__(self, folder: Path, model: GPT, optimizer: Optimizer, before: Callable[[], None]) -> None:
        """`before`: called in the thread before a checkpoint gets its name; see `write_checkpoint`."""
        self._folder = folder
        self._before = before
        self._on_cuda = model.device.type == "cuda"
        self._source: Tensors = {MODEL_FILE: model.state_dict(), OPTIMIZER_FILE: optimizer.state_tensors()}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._copy = self._pool.submit(_host_twins, self._source)  # fetching fresh memory takes longer than the copy
        self._future: Future[SavedCheckpoint] | None = None
        self._copied = threading.Event()
        self._copied.set()
        self._step = 0

    def start(self, state: TrainingState) -> None:
        """Copy the weights and write them behind training's back. Nothing may be under way."""
        assert self._future is None
        self._step = state.step
        self._copied.clear()
        updated = torch.cuda.Event() if self._on_cuda else None
        if updated is not None:
            updated.record()
        self._future = self._pool.submit(self._write, state, updated)

    def hold_still(self) -> None:
        """Wait until the weights may change: their copy is made or, without room for one, they are written."""
        self._copied.wait()

    def poll(self) -> Written | None:
        """How the write ended, once; None while it is running or when there is none."""
        return self.wait() if self._future is not None and self._future.done() else None

    def wait(self) -> Written | None:
        """Like `poll`, when it has ended."""
        if self._future is None:
            return None
        future, self._future = self._future, None
        try:
            return Written(self._step, future.result(), None)
        except NanosoloError as error:
            return Written(self._step, None, error)

    def close(self) -> None:
        """Let a write that is under way come to its end."""
        self._pool.shutdown(wait=True)

    def _write(self, state: TrainingState, updated: torch.cuda.Event | None) -> SavedCheckpoint:
        try:
            copy = self._copy.result()
            if copy is not None:
                self._fill(copy, updated)
                self._copied.set()
            return write_checkpoint(self._folder, copy or self._source, state, self._before)
        finally:
            self._copied.set()

    def _fill(self, copy: Tensors, updated: torch.cuda.Event | None) -> None:
        """Take the tensors over as they are after the update, on CUDA in parallel with the next step's kernels."""
        side = torch.cuda.Stream() if updated is not None else None
        with torch.cuda.stream(side):
            if side is not None and updated is not None:
                side.wait_event(updated)
            for file, group in self._source.items():
                for name, tensor in group.items():
                    copy[file][name].copy_(tensor, non_blocking=True)
        if side is not None:
            side.synchronize()


def _host_twins(source: Tensors) -> Tensors | None:
    """Memory for a copy, pinned for CUDA, which then copies at the bus' speed. None unless the host has twice that, and
    gives it."""
    tensors = [tensor for group in source.values() for tensor in group.values()]
    needed = sum(pinned(tensor.nbytes) if tensor.is_cuda else tensor.nbytes for tensor in tensors)
    if 2 * needed > memory_available():
        return None
    try:
        return {file: {name: _host_twin(tensor) for name, tensor in group.items()} for file, group in source.items()}
    except (RuntimeError, MemoryError):  # a limit on this process, or on memory that is pinned
        return None


def _host_twin(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda).zero_()
