"""The keys and values of the tokens already seen, so that generation computes only new ones."""

import torch
from torch import Tensor

from engine.plan.shape import Shape


class KVCache:
    """Room for `capacity` tokens of `batch` sequences: 2 x depth x batch x capacity x width elements.

    `length` counts the tokens that are in it; `GPT.trunk(tokens, cache)` appends to it.
    """

    def __init__(
        self,
        shape: Shape,
        capacity: int,
        *,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        size = (shape.depth, batch, shape.heads, capacity, shape.head_size)
        self.keys = torch.empty(size, device=device, dtype=dtype)
        self.values = torch.empty(size, device=device, dtype=dtype)
        self.capacity = capacity
        self.length = 0

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (batch, heads, T, head size) of new tokens; return that layer's keys and values of all tokens.

        `length` moves on only with `advance`, once every layer has stored its part. Raises ValueError when full.
        """
        end = self.length + keys.shape[2]
        if end > self.capacity:
            raise ValueError(f"{end} tokens do not fit a KVCache of capacity {self.capacity}")
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, tokens: int) -> None:
        """Count `tokens` new tokens as seen."""
        self.length += tokens
