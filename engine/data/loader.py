"""Batches for training and evaluation from token files, in an order that resumes from a small state."""

import atexit
import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self

import msgspec
import numpy as np
import torch

from engine.core.errors import NanosoloError, UsageError
from engine.core.memory_errors import memory_that_ran_out
from engine.data.corpora.corpus import Split
from engine.data.order import permutation
from engine.data.tokens import TokenSet


class LoaderState(msgspec.Struct, frozen=True):
    """Where to resume: at row `row` of epoch `epoch`. Independent of the batch size."""

    epoch: int = 0
    row: int = 0


class Batch(NamedTuple):
    """One micro-batch."""

    tokens: torch.Tensor  # (B, T) int64
    targets: torch.Tensor  # (B, T) int64: each token's successor
    state: LoaderState  # where to resume after this batch
    epoch: int  # of the batch's first row
    counted: int  # targets that count: those that are not -1


class RowSource(Protocol):
    """Rows of one length that a loader can pick by number."""

    rows: int

    def gather(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows by number as (tokens, targets), each (len(rows), T) int64 and contiguous; a target of -1 does not
        count."""

    def describe(self) -> str:
        """The contents in words: `the train split has 1,000 tokens (62 rows of 16)`."""


class TokenRows:
    """The rows of a split of a token set; row i is the window [i T, i T + T] of the stream."""

    def __init__(self, tokens: TokenSet, split: Split, seq_len: int) -> None:
        self._tokens = tokens
        self._split: Split = split
        self._seq_len = seq_len
        self.rows = rows_of(tokens, split, seq_len)

    def gather(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return gather(self._tokens, self._split, rows, self._seq_len)

    def describe(self) -> str:
        have = self._tokens.tokens(self._split)
        return f"the {self._split} split has {have:,} tokens ({self.rows:,} rows of {self._seq_len})"


class RowLoader:
    """Endless or single pass over the rows of a source.

    A batch may span two epochs (or more, if rows are few), so that no row is lost and a loader with another batch size
    gives the same rows from the same state. A thread prepares `prefetch` batches
    ahead; for CUDA they are pinned and copied asynchronously. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        source: RowSource,
        batch_size: int,
        seed: int,
        shuffle: bool,
        on_exhausted: Literal["epoch", "error"],
        state: LoaderState | None = None,
        device: str | torch.device = "cpu",
        prefetch: int = 2,
    ) -> None:
        """Raises UsageError if the source has no row, or fewer than one batch in a single pass; and if `state` does
        not belong to this source."""
        self._source = source
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._endless = on_exhausted == "epoch"
        self._device = torch.device(device)
        self.rows = source.rows
        state = state or LoaderState()
        if self.rows < (1 if self._endless else batch_size):
            batch = "one row" if self._endless else f"one batch of {batch_size}"
            raise UsageError(
                f"{source.describe()}: fewer than {batch}. "
                "Add more data, or lower model.max_seq_len or the batch size of the stage."
            )
        if not (0 <= state.row <= self.rows and state.epoch >= 0):
            raise UsageError(
                f"cannot resume at row {state.row:,} of epoch {state.epoch}: {source.describe()}. "
                "The checkpoint was made with other tokens. Start a new run."
            )
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=max(1, prefetch))
        self._closed = threading.Event()
        self._ended: BaseException | None = None
        self._thread = threading.Thread(target=self._produce, args=(state,), daemon=True, name="loader")
        self._thread.start()
        # a thread that still runs while the interpreter exits can abort the process (SIGABRT)
        atexit.register(self.close)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch, on the device. Raises the error of the thread, on this and every further call."""
        if self._closed.is_set():
            raise RuntimeError("the loader is closed")
        if self._ended is not None:
            raise self._ended
        item = self._ready.get()
        if isinstance(item, BaseException):
            self._ended = item
            raise item
        if self._device.type == "cpu":
            return item
        return item._replace(
            tokens=item.tokens.to(self._device, non_blocking=True),
            targets=item.targets.to(self._device, non_blocking=True),
        )

    def close(self) -> None:
        """Stop the thread. May be called more than once."""
        atexit.unregister(self.close)
        self._closed.set()
        while True:  # makes room for a thread that waits to deliver a batch
            try:
                self._ready.get_nowait()
            except queue.Empty:
                break
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _produce(self, state: LoaderState) -> None:
        try:
            for batch in self._batches(state):
                if not self._hand_over(batch):
                    return
        except BaseException as error:
            self._hand_over(error)

    def _hand_over(self, item: Batch | BaseException) -> bool:
        """Wait for room; False if the loader was closed meanwhile."""
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _batches(self, state: LoaderState) -> Iterator[Batch]:
        epoch, row = state.epoch, state.row
        order = self._order(epoch)
        while True:
            picked: list[np.ndarray] = []
            first_epoch = epoch if row < self.rows else epoch + 1
            wanted = self._batch_size
            if not self._endless and self.rows - row < wanted:
                raise self._exhausted(row)
            while wanted:
                if row == self.rows:
                    epoch, row = epoch + 1, 0
                    order = self._order(epoch)
                picked.append(order[row : row + wanted])
                row += len(picked[-1])
                wanted -= len(picked[-1])
            tokens, targets = self._source.gather(np.concatenate(picked))
            counted = int((targets >= 0).sum())
            if self._device.type == "cuda":
                tokens, targets = _pinned(tokens), _pinned(targets)
            yield Batch(tokens, targets, LoaderState(epoch, row), first_epoch, counted)

    def _order(self, epoch: int) -> np.ndarray:
        return permutation(self.rows, self._seed, epoch) if self._shuffle else np.arange(self.rows)

    def _exhausted(self, row: int) -> NanosoloError:
        return NanosoloError(
            f"out of data: {self._source.describe()}, {row:,} rows are used, and the run needs more. "
            "Set data.on_exhausted to epoch to repeat them, lower budget.tokens_per_param, or add more text."
        )


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    """A pinned copy, which the GPU can read asynchronously. Raises MemoryError: CUDA also says "out of memory"
    here, but it is host memory that ran out."""
    try:
        return tensor.pin_memory()
    except RuntimeError as error:
        if memory_that_ran_out(error) is None:
            raise
        raise MemoryError(
            "cannot lock host memory for copies to the GPU: it is full, or ulimit -l is too low"
        ) from error


class Loader(RowLoader):
    """A loader of the rows of one split of a token set."""

    def __init__(
        self,
        tokens: TokenSet,
        split: Split,
        batch_size: int,
        seq_len: int,
        seed: int,
        shuffle: bool,
        on_exhausted: Literal["epoch", "error"],
        state: LoaderState | None = None,
        device: str | torch.device = "cpu",
        prefetch: int = 2,
    ) -> None:
        source = TokenRows(tokens, split, seq_len)
        super().__init__(source, batch_size, seed, shuffle, on_exhausted, state, device, prefetch)


def evaluation_batches(
    tokens: TokenSet, split: Split, batch_size: int, seq_len: int, max_tokens: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows evenly spaced over a split, so that a part represents all of it: at most `max_tokens` targets, at least one
    row, in order, as (tokens, targets), each (B, T) int64 on the CPU. The last batch may be smaller. Raises UsageError
    if there is no row."""
    there = rows_of(tokens, split, seq_len)
    if there == 0:
        raise UsageError(
            f"the {split} split has {tokens.tokens(split):,} tokens, fewer than one row of {seq_len} + 1. "
            "Add more text, change data.validation_fraction, or lower model.max_seq_len."
        )
    rows = min(there, max(1, max_tokens // seq_len))
    chosen = np.arange(rows) * there // rows
    for start in range(0, rows, batch_size):
        yield gather(tokens, split, chosen[start : start + batch_size], seq_len)


def rows_of(tokens: TokenSet, split: Split, seq_len: int) -> int:
    """The number of rows of `seq_len` tokens, each with its successor, in a split."""
    return max(0, tokens.tokens(split) - 1) // seq_len


def gather(tokens: TokenSet, split: Split, rows: np.ndarray, seq_len: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows by number as (tokens, targets), each (len(rows), seq_len) int64 and contiguous."""
    windows = np.empty((len(rows), seq_len + 1), dtype=np.int64)
    for place, row in enumerate(rows):
        windows[place] = tokens.read(split, int(row) * seq_len, seq_len + 1)
    whole = torch.from_numpy(windows)
    return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()
