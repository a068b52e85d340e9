"""The spike rule: a loss far above those before it, by a statistic that is part of the training state."""

import math
from collections.abc import Sequence
from typing import NamedTuple

WINDOW = 128  # losses; the rule of OLMo-core: more than 6 sigma above the last 128
FEWEST = 64  # losses before a judgement: the first ones fall so fast that their spread says nothing
SIGMAS = 6.0


class Spike(NamedTuple):
    """A loss that stands out, and from what."""

    loss: float
    mean: float
    sigma: float

    def __str__(self) -> str:
        above = f", {(self.loss - self.mean) / self.sigma:.1f} sigma" if self.sigma else ""
        return f"the loss is {self.loss:.4f}{above} above the mean {self.mean:.4f} of the last steps"


def find_spike(losses: Sequence[float], loss: float) -> Spike | None:
    """The spike that `loss` is after these losses (nats per token); None when it is not one, or too few are known."""
    if len(losses) < FEWEST:
        return None
    mean = math.fsum(losses) / len(losses)
    sigma = math.sqrt(math.fsum((value - mean) ** 2 for value in losses) / len(losses))
    return Spike(loss, mean, sigma) if loss > mean + SIGMAS * sigma else None


def remember(losses: Sequence[float], loss: float) -> tuple[float, ...]:
    """The window after one more loss. A spike enters too: a level that stays high ends in being the usual one."""
    return (*losses[-(WINDOW - 1) :], loss)
