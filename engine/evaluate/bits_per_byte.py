"""Bits per byte: how many bits the model needs for a byte of text, a figure that no vocabulary can flatter."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from engine.model.gpt import GPT
from engine.model.loss import per_token_nats
from engine.model.trunk import Trunk


@torch.no_grad()
def bits_per_byte(
    model: GPT, trunk: Trunk, batches: Iterable[tuple[Tensor, Tensor]], token_bytes: Tensor, chunk_tokens: int
) -> float:
    """sum of nats / (ln 2 x bytes) over all targets that encode bytes; special tokens are not counted.

    `batches`: (tokens, targets), each (B, T); `token_bytes`: bytes of each token, (V,), 0 for special ones;
    `trunk`: model.trunk or its compiled form. NaN when the targets hold no bytes.
    """
    nats = torch.zeros((), dtype=torch.float64, device=model.device)
    count = torch.zeros((), dtype=torch.int64, device=model.device)
    token_bytes = token_bytes.to(model.device, non_blocking=True)
    for tokens, targets in batches:
        # the device works on the batch before while these are copied
        hidden = trunk(tokens.to(model.device, non_blocking=True)).flatten(0, 1)
        flat = targets.to(model.device, non_blocking=True).flatten()
        lengths = token_bytes[flat]
        losses = per_token_nats(hidden, model.head.weight, flat, chunk_tokens)
        nats += losses.masked_fill(lengths == 0, 0.0).sum(dtype=torch.float64)
        count += lengths.sum()
    total, sum_of_nats = torch.stack([count.double(), nats]).tolist()
    return sum_of_nats / (math.log(2) * total) if total else math.nan
