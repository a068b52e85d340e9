"""From logits to the next token: temperature, the k likeliest, the nucleus."""

import math

import msgspec
import torch
from torch import Tensor

from engine.errors import UsageError


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn: `top_k`, then `top_p` leave only the likeliest; temperature 0 leaves one."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None  # the fewest tokens whose probabilities reach this sum

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken. So it is at temperatures near 0, by which nothing can be divided."""
        return self.temperature < 1e-4

    def check(self) -> "Sampling":
        """Itself. Raises UsageError naming the first value that cannot be used."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature {self.temperature:g}: expected 0 or more, for example 0.7.")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k {self.top_k}: expected 1 or more, for example 50.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top_p {self.top_p:g}: expected more than 0 and at most 1, for example 0.9.")
        return self


def sample(logits: Tensor, sampling: Sampling, uniforms: list[float]) -> list[int]:
    """One id for each row of logits (B, V), by inverting its distribution at uniforms (B,) in [0, 1).

    A row's id depends on its own logits and number only, whatever stands in the rows beside it.
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
    # float64, so that the sum over a large vocabulary leaves nothing out
    sums = probabilities.cumsum(-1, dtype=torch.float64)
    points = torch.tensor(uniforms, dtype=torch.float64, device=logits.device).unsqueeze(-1) * sums[:, -1:]
    places = torch.searchsorted(sums, points, right=True).clamp_(max=sums.shape[-1] - 1)
    drawn = places if ids is None else ids.gather(-1, places)
    return [int(i) for i in drawn.squeeze(-1).tolist()]
