"""Cross-entropy over a large vocabulary that never holds the logits of all tokens in memory."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.config.schema import LossKind
from engine.model.compiling import compile_for_each_size

IGNORED = -1  # the target of a token that does not count
SOFTCAP = 15.0  # logits are 15 tanh(x / 15), so they lie within +-15


def softcapped_logits(hidden: Tensor, head_weight: Tensor) -> Tensor:
    """15 tanh(x / 15) of x = hidden W^T, in float32: (..., V) from (..., d) and (V, d)."""
    raw = F.linear(hidden, head_weight.to(hidden.dtype))
    return SOFTCAP * torch.tanh(raw.float() / SOFTCAP)


def summed_loss(
    hidden: Tensor, head_weight: Tensor, targets: Tensor, kind: LossKind, chunk_tokens: int, compiled: bool = False
) -> Tensor:
    """The sum of nats (float32 scalar) of targets (N,) given hidden states (N, d) and the head (V, d).

    Targets of -1 count nothing. `full` computes all logits at once, 28 N V bytes. `chunked` computes the gradient along
    with the loss, `chunk_tokens` C at a time, in at most max(10 C V + 6 V d, 2 C V + 8 V d) bytes and the gradient of
    the hidden states, and allows one backward pass.
    Call it outside a compiled graph: inside, the chunks would be computed all at once. `compiled` compiles what lies
    between the matrix products of one chunk instead, which then moves 8 bytes a logit rather than 52.
    """
    if kind == "full":
        logits = softcapped_logits(hidden, head_weight)
        return F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    if torch.is_grad_enabled() and (hidden.requires_grad or head_weight.requires_grad):
        nats: Tensor = _ChunkedLoss.apply(hidden, head_weight, targets, chunk_tokens, compiled)
        return nats
    return per_token_nats(hidden, head_weight, targets, chunk_tokens).sum()


@torch.no_grad()
def per_token_nats(hidden: Tensor, head_weight: Tensor, targets: Tensor, chunk_tokens: int) -> Tensor:
    """Nats (N,) float32 of each target; 0 where it is ignored. No gradients. Shapes as in `summed_loss`."""
    weight = head_weight.to(hidden.dtype)
    logits = _chunk_buffer(hidden, weight, chunk_tokens)
    nats = [
        _nats(_scaled_logits_(chunk, weight, logits).float().tanh_(), chunk_targets)[0]
        for chunk, chunk_targets in zip(hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
    ]
    return torch.cat(nats)


class _ChunkedLoss(torch.autograd.Function):
    """The loss with its gradient computed in the forward pass, when the logits of a chunk are at hand."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head_weight: Tensor, targets: Tensor, chunk_tokens: int, compiled: bool
    ) -> Tensor:
        weight = head_weight.to(hidden.dtype)
        logits = _chunk_buffer(hidden, weight, chunk_tokens)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        total = torch.zeros((), device=hidden.device)
        differentiate = _compiled_gradients() if compiled else _gradients_
        for chunk, chunk_grad, chunk_targets in zip(
            hidden.split(chunk_tokens), grad_hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True
        ):
            nats, grad_logits = differentiate(_scaled_logits_(chunk, weight, logits), chunk_targets)
            total += nats.sum()
            torch.mm(grad_logits, weight, out=chunk_grad)
            if weight.dtype == torch.float32:
                grad_weight.addmm_(grad_logits.T, chunk)
            else:
                grad_weight += grad_logits.T @ chunk
            del grad_logits
        # not save_for_backward: backward scales them in place, so that no second copy of the head's gradient exists
        ctx.gradients = (grad_hidden, grad_weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        if ctx.gradients is None:
            raise RuntimeError("the chunked loss allows one backward pass; use the full loss for more")
        grad_hidden, grad_weight = ctx.gradients
        ctx.gradients = None
        return grad_hidden.mul_(grad_output), grad_weight.mul_(grad_output), None, None, None


def _chunk_buffer(hidden: Tensor, weight: Tensor, chunk_tokens: int) -> Tensor:
    """Room for the logits of one chunk, used again for each."""
    return hidden.new_empty(min(chunk_tokens, len(hidden)), len(weight))


def _scaled_logits_(hidden: Tensor, weight: Tensor, buffer: Tensor) -> Tensor:
    """hidden W^T / 15, (C, V), in `buffer`."""
    return buffer[: len(hidden)].addmm_(hidden, weight.T, beta=0, alpha=1 / SOFTCAP)


def _gradients_(scaled: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Nats (C,) of the targets and d nats / d x (C, V) of logits x = 15 `scaled`, the latter in `scaled` itself.

    d nats / d x = (softmax - one-hot) (1 - tanh^2), and 0 in ignored rows.
    """
    buffer = scaled
    tanh = scaled.float().tanh_()
    nats, exp, exp_sum = _nats(tanh, targets)
    # softmax = exp / exp_sum; the division comes last, where it costs nothing on top of the cast
    exp.scatter_add_(1, targets.clamp(min=0).unsqueeze(1), -exp_sum.unsqueeze(1))
    torch.ops.aten.tanh_backward.grad_input(exp, tanh, grad_input=exp)
    del tanh
    scale = (targets != IGNORED) / exp_sum
    return nats, torch.mul(exp, scale.unsqueeze(1), out=buffer)


def gradients_of_logits(scaled: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What `_gradients_` computes, without side effects: a compiler turns it into two passes over `scaled`."""
    tanh = scaled.float().tanh()
    exp = (SOFTCAP * tanh).exp()
    exp_sum = exp.sum(1, keepdim=True)
    counted = targets != IGNORED
    place = targets.clamp(min=0).unsqueeze(1)
    target_logit = SOFTCAP * scaled.gather(1, place).float().tanh()
    nats = (exp_sum.log() - target_logit).squeeze(1).masked_fill(~counted, 0.0)
    hit = torch.arange(scaled.shape[1], device=scaled.device) == place
    gradient = (exp / exp_sum - hit.to(exp.dtype)) * (1 - tanh * tanh) * counted.unsqueeze(1)
    return nats, gradient.to(scaled.dtype)


@cache
def _compiled_gradients() -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return compile_for_each_size(gradients_of_logits)


def _nats(tanh: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nats (C,) of the targets under logits 15 tanh, (C, V); exp(logits), (C, V); and its row sums (C,)."""
    target_logit = SOFTCAP * tanh.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1)
    exp = (SOFTCAP * tanh).exp_()  # at most e^15: the cap makes a subtraction of the maximum needless
    exp_sum = exp.sum(1)
    return (exp_sum.log() - target_logit).masked_fill(targets == IGNORED, 0.0), exp, exp_sum
