"""KV cache: the keys and values of earlier tokens, so that generation computes only new ones."""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.model.placing import on_device
from engine.plan.shape import Shape


class Attending(Protocol):
    """An attention that replaces plain causal attention within a row.

    `GPT.trunk` calls `begin`, then `attend` in every layer, then `advance`.
    """

    def begin(self, new: int) -> tuple[slice | Tensor, int]:
        """The positions of the `new` tokens of every row, (new,) or (B, new), and the first one after all of them."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The attended values; all tensors (B, h, T, q)."""

    def advance(self, new: int) -> None:
        """Every layer has attended."""


class KVCache:
    """Room for `capacity` tokens in each of `batch` rows: 2 x depth x batch x capacity x width elements.

    `lengths` counts the tokens in each row. `GPT.trunk(tokens, cache)` gives every row as many new ones: it calls
    `begin`, then `attend` in every layer, then `advance`.
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
        # zeros, not empty: masked values must still be finite numbers
        self.keys = torch.zeros(size, device=device, dtype=dtype)
        self.values = torch.zeros(size, device=device, dtype=dtype)
        self.lengths = [0] * batch
        self._positions: slice | Tensor = slice(0, 0)
        self._end = 0
        self._mask: Tensor | None = None

    @property
    def capacity(self) -> int:
        """The number of tokens that fit in a row."""
        return self.keys.shape[3]

    def window(self, first: int, lengths: Sequence[int]) -> "KVCache":
        """The rows from `first` on that hold `lengths` tokens, as a cache that shares this one's memory."""
        view = KVCache.__new__(KVCache)
        rows = slice(first, first + len(lengths))
        view.keys, view.values = self.keys[:, rows], self.values[:, rows]
        view.lengths = list(lengths)
        return view

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` to row `target`."""
        for part in (self.keys, self.values):
            part[:, target, :, :length] = part[:, source, :, :length]

    def begin(self, new: int) -> tuple[slice | Tensor, int]:
        """Where `new` more tokens of every row go: their positions, and the first position after all of them.

        The positions are one slice where the rows are equally long, else a tensor (B, new).
        Raises ValueError where they do not fit.
        """
        shortest, longest = min(self.lengths), max(self.lengths)
        self._end = longest + new
        if self._end > self.capacity:
            raise ValueError(f"{self._end} tokens do not fit a KVCache of capacity {self.capacity}")
        device = self.keys.device
        if shortest == longest:
            self._positions = slice(longest, self._end)
            alone = new == 1 or longest == 0  # nothing to hide that `is_causal` does not
            self._mask = None if alone else self._hide(torch.arange(longest, self._end, device=device))
        else:
            self._positions = on_device(self.lengths, device).unsqueeze(1) + torch.arange(new, device=device)
            self._mask = self._hide(self._positions).unsqueeze(1)
        return self._positions, self._end

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of new tokens to those in their rows and, causally, to each other; all tensors (B, h, T, q)."""
        where = self._positions
        keys, values = self.keys[layer], self.values[layer]
        if isinstance(where, slice):
            keys[:, :, where] = key
            values[:, :, where] = value
        else:
            rows = torch.arange(len(where), device=where.device).unsqueeze(1)
            keys[rows, :, where] = key.transpose(1, 2)
            values[rows, :, where] = value.transpose(1, 2)
        keys, values = keys[:, :, : self._end], values[:, :, : self._end]
        causal = self._mask is None and query.shape[2] > 1
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=self._mask, is_causal=causal)

    def advance(self, new: int) -> None:
        """Count `new` more tokens in every row, once every layer has stored its part."""
        self.lengths = [length + new for length in self.lengths]

    def _hide(self, positions: Tensor) -> Tensor:
        """(..., T) positions -> (..., T, end): -inf on what lies behind each, to be added to attention scores."""
        behind = torch.arange(self._end, device=positions.device) > positions.unsqueeze(-1)
        # not a boolean mask: that would be turned into this one in every layer
        return torch.zeros(behind.shape, device=behind.device, dtype=self.keys.dtype).masked_fill_(behind, -torch.inf)
