"""Activation checkpointing: what a block keeps for its backward pass and what it recomputes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from engine.config.schema import CheckpointingMode

_ATEN = torch.ops.aten
_MATMULS = {_ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default}
_ATTENTIONS = {
    _ATEN._scaled_dot_product_flash_attention.default,
    _ATEN._scaled_dot_product_efficient_attention.default,
    _ATEN._scaled_dot_product_cudnn_attention.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
}


def run_block(block: Callable[..., Tensor], mode: CheckpointingMode, *inputs: Any) -> Tensor:
    """block(*inputs), keeping for backward only what `mode` says; gradients are the same in every mode.

    none: everything. selective: results of matrix products and of attention, so that only pointwise work is done
    twice. block: the inputs alone. Without gradients there is nothing to keep, and the block is simply run.
    """
    if mode == "none" or not torch.is_grad_enabled():
        return block(*inputs)
    # Nothing in a block is random, so there is no generator state to keep. Dynamo takes the default of `context_fn` for
    # granted only where it is not given.
    again = partial(checkpoint, block, use_reentrant=False, preserve_rng_state=False)
    if mode == "selective":
        again = partial(again, context_fn=partial(create_selective_checkpoint_contexts, _keep))
    result: Tensor = again(*inputs)
    return result


def _keep(_context: Any, op: Any, *args: Any, **_kwargs: Any) -> CheckpointPolicy:
    """Whether `selective` keeps the result of an operation."""
    if op in _ATTENTIONS or (op in _MATMULS and not _ends_the_block(args)):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def _ends_the_block(factors: tuple[Any, ...]) -> bool:
    """Whether this is the MLP's contraction, the one product that narrows: no gradient needs its result."""
    inner, outer = factors[-1].shape[-2:]
    return bool(inner > outer)
