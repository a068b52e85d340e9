"""Samples the next token from logits: temperature, top-k, top-p."""

import torch
from torch import Tensor

from engine.inference.sampling_params import Sampling
from engine.model.placing import on_device


def sample(logits: Tensor, sampling: Sampling, uniforms: list[float]) -> list[int]:
    """One id per row of logits (B, V), by inverse transform sampling at uniforms (B,) in [0, 1).

    The id of a row depends only on its own logits and uniform number, not on other rows.
    """
    if sampling.greedy:
        return [int(i) for i in logits.argmax(-1).tolist()]
    ids = None
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        logits, ids = logits.topk(sampling.top_k)
    elif sampling.top_p is not None and sampling.top_p < 1:
        logits, ids = logits.sort(descending=True)
    probabilities = torch.softmax(logits / sampling.temperature, -1)
    if sampling.top_p is not None and sampling.top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    # float64, so that the sum over a large vocabulary loses nothing to rounding
    sums = probabilities.cumsum(-1, dtype=torch.float64)
    points = on_device(uniforms, logits.device, torch.float64).unsqueeze(-1) * sums[:, -1:]
    places = torch.searchsorted(sums, points, right=True).clamp_(max=sums.shape[-1] - 1)
    drawn = places if ids is None else ids.gather(-1, places)
    return [int(i) for i in drawn.squeeze(-1).tolist()]
