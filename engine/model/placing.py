"""Puts small values of the host on the model's device without making the host wait for it."""

from typing import Any

import torch
from torch import Tensor


def on_device(values: list[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of (nested lists of) numbers. `torch.tensor(values, device=device)` would wait until CUDA has done all
    that it was asked for before."""
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)
