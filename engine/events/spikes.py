"""The spike rule: a loss far above the losses before it.

The trainer applies the rule and writes a warning event; advice and report read that event. The window of losses is part
of the training state.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

SPIKE = "spike"  # of the warning event
WINDOW = 128  # losses; the rule of OLMo-core: more than 6 sigma above the last 128
FEWEST = 64  # losses before the rule applies: the first losses fall so fast that their spread says nothing
SIGMAS = 6.0


class Spike(NamedTuple):
    """A loss that stands out, with the statistics of the window before it. Nats per token."""

    loss: float
    mean: float
    sigma: float

    @property
    def sigmas(self) -> float | None:
        """Distance from the mean in standard deviations; None where all losses in the window are equal."""
        return (self.loss - self.mean) / self.sigma if self.sigma else None

    def __str__(self) -> str:
        distance = f"{self.sigmas:.1f} sigma " if self.sigmas is not None else ""
        return f"loss {self.loss:.4f}, {distance}above the mean of the previous steps ({self.mean:.4f})"


def find_spike(losses: Sequence[float], loss: float) -> Spike | None:
    """The spike that `loss` is after these losses (nats per token); None where it is none, or `losses` are too few."""
    if len(losses) < FEWEST:
        return None
    mean = math.fsum(losses) / len(losses)
    sigma = math.sqrt(math.fsum((value - mean) ** 2 for value in losses) / len(losses))
    return Spike(loss, mean, sigma) if loss > mean + SIGMAS * sigma else None


def remember(losses: Sequence[float], loss: float) -> tuple[float, ...]:
    """The window after one more loss. A spike enters too, so a level that stays high becomes the usual level."""
    return (*losses[-(WINDOW - 1) :], loss)
