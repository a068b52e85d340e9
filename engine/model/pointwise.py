"""Pointwise functions with custom backward passes that need fewer temporaries than autograd's."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

RMS_EPS = 1e-6


def rms_norm(x: Tensor) -> Tensor:
    """x / rms(x) over the last dimension, without weights; statistics in float32."""
    # CUDA has a fused kernel; on the CPU torch composes it of a dozen passes over memory, of which these are the fewest
    if x.device.type == "cpu" and x.dtype == torch.float32:
        if not torch.is_grad_enabled():  # generation cannot afford the function's own cost for every token
            return x * _inverse_rms(x)
        normed: Tensor = _RMSNorm.apply(x)
        return normed
    return F.rms_norm(x, (x.shape[-1],), eps=RMS_EPS)


def squared_relu(x: Tensor) -> Tensor:
    """max(x, 0)^2 (So et al. 2021, Primer)."""
    if not torch.is_grad_enabled():
        return x.relu().square_()
    squared: Tensor = _SquaredReLU.apply(x)
    return squared


def _inverse_rms(x: Tensor) -> Tensor:
    """(mean(x^2) + eps)^-1/2 over the last dimension, which is kept."""
    mean = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    return mean.add_(RMS_EPS).rsqrt_()


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scale = _inverse_rms(x)
        ctx.save_for_backward(x, scale)
        return x * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, scale = ctx.saved_tensors
        # y = s x with s = (mean(x^2) + eps)^-1/2, so dx = s (g - x s^2 mean(g x))
        along = torch.linalg.vecdot(grad, x).unsqueeze(-1) * scale.square().div_(-x.shape[-1])
        return torch.addcmul(grad, x, along).mul_(scale)


class _SquaredReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.relu()
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return (grad * positive).mul_(2)
