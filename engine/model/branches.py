"""Attention for branching rows: one shared prefix, computed once, with several continuations."""

import torch
import torch.nn.functional as F
from torch import Tensor

_ALIGNED = 8  # elements between a mask's rows: CUDA's kernels would copy any other mask in every layer


class Branches:
    """Rows (B, T) of a shared prefix and its branches. Each branch attends only to the prefix and to itself.

    Goes where `GPT.trunk` takes a cache, for one forward pass. The branches' hidden states are those that each has
    where it follows the beginning by itself, up to rounding. Padding is on the right, where no token attends to it.
    """

    def __init__(self, positions: Tensor, branch: Tensor, shared: int, end: int, dtype: torch.dtype) -> None:
        """`positions` (B, T), all below `end`; `branch` (B, T): 0 in the beginning, else which branch a token is in.
        The first `shared` columns are beginning in every row. `dtype` is that of the activations."""
        self._positions, self._end = positions, end
        self._shared = shared
        self._mask = _mask(branch, shared, dtype)

    def begin(self, new: int) -> tuple[Tensor, int]:
        """The tokens' positions, and the first position after all of them."""
        assert new == self._positions.shape[1]
        return self._positions, self._end

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention among the row's tokens; all tensors (B, h, T, q). `layer` is not asked for: nothing is kept."""
        shared = self._shared
        behind = F.scaled_dot_product_attention(query[:, :, shared:], key, value, attn_mask=self._mask)
        if shared == 0:
            return behind
        # most of a row, and causal as usual: the fastest kernels know no mask
        before = F.scaled_dot_product_attention(
            query[:, :, :shared], key[:, :, :shared], value[:, :, :shared], is_causal=True
        )
        # laid out token by token, as the projection that follows reads it
        return torch.cat([before.transpose(1, 2), behind.transpose(1, 2)], 1).transpose(1, 2)

    def advance(self, new: int) -> None:
        """Nothing is kept, so there is nothing to count."""


def _mask(branch: Tensor, shared: int, dtype: torch.dtype) -> Tensor:
    """(B, 1, T - shared, T), to be added to scores: -inf on what comes later and on other branches."""
    rows, length = branch.shape
    columns = torch.arange(length, device=branch.device)
    later = columns > columns[shared:, None]
    asking = branch[:, shared:, None]
    foreign = (branch[:, None, :] != 0) & (branch[:, None, :] != asking)
    storage = torch.zeros(
        rows, 1, length - shared, -(-length // _ALIGNED) * _ALIGNED, device=branch.device, dtype=dtype
    )
    mask = storage[..., :length]
    return mask.masked_fill_((foreign | later).unsqueeze(1), -torch.inf)
