"""How tokens are drawn: the settings, checked; without torch, so that whoever only sets them starts in a blink."""

import math

import msgspec

from engine.core.errors import UsageError


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
