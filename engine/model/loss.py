"""Cross-entropy over a large vocabulary without ever holding the logits of all tokens."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.plan.config import LossKind

IGNORED = -1  # the target of a token that does not count
SOFTCAP = 15.0  # logits are 15 tanh(x / 15), so they lie within +-15


def softcapped_logits(hidden: Tensor, head_weight: Tensor) -> Tensor:
    """15 tanh(x / 15) of x = hidden W^T, in float32: (..., V) from (..., d) and (V, d)."""
    raw = F.linear(hidden, head_weight.to(hidden.dtype))
    return SOFTCAP * torch.tanh(raw.float() / SOFTCAP)


def summed_loss(hidden: Tensor, head_weight: Tensor, targets: Tensor, kind: LossKind, chunk_tokens: int) -> Tensor:
    """The sum of nats (float32 scalar) of targets (N,) given hidden states (N, d) and the head (V, d).

    Targets of -1 count nothing. `full` computes all logits at once, 28 N V bytes. `chunked` computes the gradient along
    with the loss, `chunk_tokens` C at a time, in at most max(10 C V + 6 V d, 2 C V + 8 V d) bytes and the gradient of
    the hidden states, and allows one backward pass.
    Call it outside a compiled graph: inside, the chunks would be computed all at once.
    """
    if kind == "full":
        logits = softcapped_logits(hidden, head_weight)
        return F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    if torch.is_grad_enabled() and (hidden.requires_grad or head_weight.requires_grad):
        nats: Tensor = _ChunkedLoss.apply(hidden, head_weight, targets, chunk_tokens)
        return nats
    return per_token_nats(hidden, head_weight, targets, chunk_tokens).sum()


@torch.no_grad()
def per_token_nats(hidden: Tensor, head_weight: Tensor, targets: Tensor, chunk_tokens: int) -> Tensor:
    """Nats (N,) float32 of each target; 0 where it is ignored. No gradients. Shapes as in `summed_loss`."""
    weight = head_weight.to(hidden.dtype)
    logits = _chunk_buffer(hidden, weight, chunk_tokens)
    nats = [
        _nats(_capped_tanh_(chunk, weight, logits), chunk_targets)[0]
        for chunk, chunk_targets in zip(hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
    ]
    return torch.cat(nats)


class _ChunkedLoss(torch.autograd.Function):
    """The loss with its gradient computed in the forward pass, when the logits of a chunk are at hand."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head_weight: Tensor, targets: Tensor, chunk_tokens: int) -> Tensor:
        weight = head_weight.to(hidden.dtype)
        logits = _chunk_buffer(hidden, weight, chunk_tokens)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        total = torch.zeros((), device=hidden.device)
        for chunk, chunk_grad, chunk_targets in zip(
            hidden.split(chunk_tokens), grad_hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True
        ):
            tanh = _capped_tanh_(chunk, weight, logits)
            nats, exp, exp_sum = _nats(tanh, chunk_targets)
            total += nats.sum()
            # d nats / d x = (softmax - one-hot) (1 - tanh^2), and 0 in ignored rows. softmax = exp / exp_sum; the
            # division comes last, where it costs nothing beside the cast to the dtype of the activations
            exp.scatter_add_(1, chunk_targets.clamp(min=0).unsqueeze(1), -exp_sum.unsqueeze(1))
            torch.ops.aten.tanh_backward.grad_input(exp, tanh, grad_input=exp)
            del tanh
            scale = (chunk_targets != IGNORED) / exp_sum
            grad_logits = torch.mul(exp, scale.unsqueeze(1), out=logits[: len(chunk)])
            del exp
            torch.mm(grad_logits, weight, out=chunk_grad)
            if weight.dtype == torch.float32:
                grad_weight.addmm_(grad_logits.T, chunk)
            else:
                grad_weight += grad_logits.T @ chunk
        # not save_for_backward: backward scales them in place, so that no second copy of the head's gradient exists
        ctx.gradients = (grad_hidden, grad_weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None]:
        if ctx.gradients is None:
            raise RuntimeError("the chunked loss allows one backward pass; use the full loss for more")
        grad_hidden, grad_weight = ctx.gradients
        ctx.gradients = None
        return grad_hidden.mul_(grad_output), grad_weight.mul_(grad_output), None, None


def _chunk_buffer(hidden: Tensor, weight: Tensor, chunk_tokens: int) -> Tensor:
    """Room for the logits of one chunk, used again for each."""
    return hidden.new_empty(min(chunk_tokens, len(hidden)), len(weight))


def _capped_tanh_(hidden: Tensor, weight: Tensor, buffer: Tensor) -> Tensor:
    """tanh(hidden W^T / 15) in float32, (C, V); in `buffer` itself where that is float32."""
    scaled = buffer[: len(hidden)].addmm_(hidden, weight.T, beta=0, alpha=1 / SOFTCAP)
    return scaled.float().tanh_()


def _nats(tanh: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nats (C,) of the targets under logits 15 tanh, (C, V); exp(logits), (C, V); and its row sums (C,)."""
    target_logit = SOFTCAP * tanh.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1)
    exp = (SOFTCAP * tanh).exp_()  # at most e^15: the cap makes a subtraction of the maximum needless
    exp_sum = exp.sum(1)
    return (exp_sum.log() - target_logit).masked_fill(targets == IGNORED, 0.0), exp, exp_sum
