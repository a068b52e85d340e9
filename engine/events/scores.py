"""The accuracies of a run as one table: CORE's tasks and the chat tasks, with the score of guessing."""

from collections.abc import Sequence
from typing import NamedTuple

from engine.events.kinds import Evaluation

ENDS = "chat/ends"  # the share of written answers that come to their end token
REWARD = "reward"  # the metric of every step of rl: a curve, not a score
LOWER, HIGHER = "lower is better", "higher is better"
LOSSES = frozenset(("loss", "val_loss", "val_bpb", "train_bpb"))


class Score(NamedTuple):
    """The newest value of one accuracy."""

    name: str
    value: float
    baseline: float | None  # of guessing
    examples: int

    @property
    def centered(self) -> float | None:
        """0 for guessing, 1 for perfect; None where guessing has no figure."""
        if self.baseline is None or self.baseline >= 1:
            return None
        return (self.value - self.baseline) / (1 - self.baseline)


def direction(metric: str) -> str:
    """Whether less or more of a metric is better, in words. All that are no losses are shares of right answers."""
    return LOWER if metric in LOSSES else HIGHER


def scores(evaluations: Sequence[Evaluation]) -> list[Score]:
    """The newest value of each accuracy that has a number of examples, in the order of their first appearance.
    Rewards of single steps are a curve, not a score."""
    newest: dict[str, Score] = {}
    for event in evaluations:
        if event.examples is not None and event.metric != REWARD:
            newest[event.metric] = Score(event.metric, event.value, event.baseline, event.examples)
    return list(newest.values())
