"""Sampling settings and their checks. Imports no torch, so that programs that only set them start fast."""

import math

import msgspec

from engine.core.errors import UsageError


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling settings. `top_k`, then `top_p` keep only the most likely tokens; temperature 0 keeps one."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None  # the fewest tokens whose probabilities reach this sum

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken: also at temperatures too close to 0 to divide by."""
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
