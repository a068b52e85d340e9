"""Forward passes over many rows of different lengths: batched with those of like length, padded on the right."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.model.gpt import GPT
from engine.plan.stage_memory import CPU_TOKENS, CUDA_TOKENS

MOST_TOKENS = {"cuda": CUDA_TOKENS, "cpu": CPU_TOKENS}
FEWEST_TOKENS = 2_048
ACTIVATIONS = 24  # elements for each token and unit of width, about twice what a block's forward pass holds


class Row(NamedTuple):
    """Tokens to run, and from which position on the hidden states are wanted."""

    tokens: np.ndarray  # (T,) integers
    start: int


def token_budget(model: GPT) -> int:
    """Tokens of one batch that is run without gradients: by the GPU's free memory, of which half is left alone."""
    most = MOST_TOKENS[model.device.type]
    if model.device.type != "cuda":
        return most
    for_each = ACTIVATIONS * model.shape.width * model.compute_dtype.itemsize
    return min(most, max(FEWEST_TOKENS, torch.cuda.mem_get_info(model.device)[0] // 2 // for_each))


@torch.no_grad()
def hidden_states(model: GPT, rows: Sequence[Row], max_tokens: int) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (indices of rows, hidden states (n, d) of their wanted positions, one row's after the other's).

    A batch holds at most `max_tokens` tokens, padding included, but at least one row: with 1, every row runs alone
    and without padding. The longest come first, so that memory runs out at once or not at all. A causal model never
    sees the padding on the right, so no mask is needed and flash attention stays possible.
    """
    for indices in batches_of_like_length([len(row.tokens) for row in rows], max_tokens):
        longest = len(rows[indices[0]].tokens)
        tokens = np.zeros((len(indices), longest), np.int64)
        wanted = np.zeros((len(indices), longest), bool)
        for place, index in enumerate(indices):
            row = rows[index]
            tokens[place, : len(row.tokens)] = row.tokens
            wanted[place, row.start : len(row.tokens)] = True
        hidden = model.trunk(torch.from_numpy(tokens).to(model.device, non_blocking=True))
        # by number: how many a mask wants would be for the device to say, and the host would wait for it
        places = torch.from_numpy(np.flatnonzero(wanted)).to(model.device, non_blocking=True)
        yield indices, hidden.flatten(0, 1)[places]


def batches_of_like_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in batches, longest first, each batch's size x its longest at most `max_tokens` (or one row)."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    begin = 0
    while begin < len(order):
        size = max(1, max_tokens // max(1, lengths[order[begin]]))
        yield order[begin : begin + size]
        begin += size
