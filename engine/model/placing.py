"""Copies small host values to the model's device without a host sync."""

from typing import Any

import torch
from torch import Tensor


def on_device(values: list[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of (nested lists of) numbers. `torch.tensor(values, device=device)` would wait for all queued CUDA
    work."""
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)
