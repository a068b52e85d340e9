"""Sampling settings and their validation. Imports no torch, so that the CLI and the console start fast."""

import math

import msgspec

from engine.core.errors import UsageError


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are sampled: `top_k`, then `top_p` keep the most likely tokens; temperature 0 keeps one."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None  # keep the fewest tokens whose probabilities reach this sum

    @property
    def greedy(self) -> bool:
        """Whether to take the most likely token. Also true near temperature 0, to avoid a division by zero."""
        return self.temperature < 1e-4

    def check(self) -> "Sampling":
        """Returns itself. Raises UsageError for the first invalid value."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature {self.temperature:g}: expected 0 or more, for example 0.7.")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k {self.top_k}: expected 1 or more, for example 50.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top_p {self.top_p:g}: expected more than 0 and at most 1, for example 0.9.")
        return self
