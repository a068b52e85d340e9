"""Traces how much memory training holds, phase by phase, without the device: the real code on fake tensors.

Fake tensors have sizes but no data, so a 561M-parameter model is traced in seconds and a few hundred MB. They are CPU
tensors (fake CUDA tensors cannot run backward without CUDA), so what CUDA would do differently is put in its place:
the flash attention kernel, the fused RMS norm, and the workspaces that kernels allocate inside. Eager only: what
Inductor fuses cannot be seen here.
"""

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.config.schema import BatchConfig, CheckpointingMode, OptimConfig
from engine.model.gpt import GPT
from engine.model.loss import per_token_nats, summed_loss
from engine.optim.optimizer import Optimizer, clip_gradients
from engine.plan.batch import micro_batches
from engine.plan.memory_timeline import embedding_workspace
from engine.plan.shape import Shape

ALIGNMENT = 512  # CUDA's allocator counts in blocks of this many bytes
_ATEN = torch.ops.aten


class Trace(NamedTuple):
    """Most bytes alive at one time in each phase, without overhead, and how long the trace took."""

    peaks: dict[str, int]
    seconds: float


def trace_training(shape: Shape, batch: BatchConfig, mode: CheckpointingMode, cuda: bool = True) -> Trace:
    """Trace one eager optimizer step, an evaluation batch and a sample, as the trainer runs them.

    `cuda`: bfloat16 with CUDA's kernels, else float32 with the CPU's. Phase names: engine.plan.memory_timeline.
    Do not use it while other code runs in the process: it patches torch's functional API.
    """
    began = time.perf_counter()
    tracker = _Tracker(cuda)
    with FakeTensorMode(), tracker, _kernels(cuda):
        model = GPT(shape, mode, compute_dtype=torch.bfloat16 if cuda else torch.float32)
        optimizer = Optimizer(model, OptimConfig(), shape.width)
        step_through(model, model.trunk, optimizer, batch, tracker.begin)
    return Trace(dict(tracker.peaks), time.perf_counter() - began)


def step_through(
    model: GPT,
    trunk: Callable[[Tensor], Tensor],
    optimizer: Optimizer,
    batch: BatchConfig,
    begin: Callable[[str], None],
) -> None:
    """One optimizer step as the trainer does it, an evaluation batch and a sample; `begin` hears of every phase.

    Two micro-batches are enough: the memory is the same from the second on. `trunk`: model.trunk or
    its compiled form.
    """
    length = model.shape.max_seq_len
    size = (batch.device_batch_size, length)

    def some_ids(*size: int) -> Tensor:
        return torch.randint(model.shape.vocab_size, size, device=model.device)

    # the whole step's tokens stay on the device, so that it can be replayed when memory runs out
    step = [(some_ids(*size), some_ids(*size)) for _ in range(micro_batches(batch, length))]
    for tokens, targets in step[:2]:
        begin("forward")
        hidden = trunk(tokens).flatten(0, 1)
        begin("loss")
        nats = summed_loss(
            hidden, model.head.weight, targets.flatten(), batch.loss, batch.loss_chunk_tokens, trunk != model.trunk
        )
        del hidden
        begin("backward")
        (nats / tokens.numel()).backward()
        del nats
    begin("optimizer step")
    clip_gradients(model, 1.0)
    optimizer.step(1.0, 0.9)
    optimizer.zero_grad()
    del step, tokens, targets

    with torch.no_grad():
        begin("evaluation")
        tokens, targets = some_ids(*size), some_ids(*size)
        hidden = trunk(tokens).flatten(0, 1)
        per_token_nats(hidden, model.head.weight, targets.flatten(), batch.loss_chunk_tokens)
        del hidden, tokens, targets
        begin("sampling")
        cache = model.new_cache(length)
        model.logits(model.trunk(some_ids(1, length - 1), cache)[0, -1])
        model.logits(model.trunk(some_ids(1, 1), cache)[0, -1])


class _Tracker(TorchDispatchMode):
    """Adds up the storages alive: their bytes at birth, off again at death."""

    def __init__(self, cuda: bool) -> None:
        super().__init__()
        self.peaks: dict[str, int] = {}
        self._cuda = cuda
        self._phase: str | None = None  # building the model is no phase of training
        self._current = 0
        self._alive: set[int] = set()

    def begin(self, phase: str) -> None:
        self._phase = phase
        self._note(0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        self._note(_kernel_workspace(func, args) if self._cuda else 0)
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._alive:
            return
        size = -(-storage.nbytes() // ALIGNMENT) * ALIGNMENT
        self._alive.add(key)
        self._current += size
        weakref.finalize(storage, self._remove, key, size).atexit = False

    def _remove(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._current -= size

    def _note(self, workspace: int) -> None:
        if self._phase is not None:
            self.peaks[self._phase] = max(self.peaks.get(self._phase, 0), self._current + workspace)


def _kernel_workspace(func: Any, args: Any) -> int:
    """Bytes that a CUDA kernel allocates for itself, which no tensor shows.

    From ATen's flash_attn/flash_api.cpp (mha_bwd: float32 sums of dq, and softmax's d) and EmbeddingBackwardKernel.cu
    (sorted indices, and float32 sums of runs of at most 10 rows).
    """
    if func is _ATEN._scaled_dot_product_flash_attention_backward.default:
        batch, heads, length, size = args[1].shape
        rounded = -(-length // 128) * 128
        return int(4 * batch * heads * rounded * (-(-size // 32) * 32 + 1))
    if func is _ATEN.embedding_dense_backward.default:
        return embedding_workspace(args[1].numel(), args[2], args[0].shape[-1])
    return 0


@contextmanager
def _kernels(cuda: bool) -> Iterator[None]:
    """Within it the functional API calls the kernels of the device that is meant, where fake CPU tensors would take
    other ways. (Patched, because a TorchFunctionMode is off while autograd computes a checkpointed block again.)"""
    flash = _ATEN._scaled_dot_product_flash_attention
    if not cuda:
        flash = _ATEN._scaled_dot_product_flash_attention_for_cpu

    def attention(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        mixed: Tensor = flash(query, key, value, 0.0, is_causal)[0]
        return mixed

    def rms_norm(x: Tensor, normalized_shape: tuple[int, ...], eps: float) -> Tensor:
        normed: Tensor = _FusedRMSNorm.apply(x)
        return normed

    replaced: dict[str, Callable[..., Tensor]] = {"scaled_dot_product_attention": attention}
    if cuda:
        replaced["rms_norm"] = rms_norm
    before = {name: getattr(F, name) for name in replaced}
    try:
        for name, function in replaced.items():
            setattr(F, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(F, name, function)


class _FusedRMSNorm(torch.autograd.Function):
    """Allocates as CUDA's kernel does: it saves its input and a float32 1/rms for each row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x, x.new_empty((*x.shape[:-1], 1), dtype=torch.float32))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.empty_like(ctx.saved_tensors[0])
