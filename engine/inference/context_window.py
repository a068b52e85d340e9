"""Fits a conversation into the model's context: the oldest turns are left out first, and an answer needs room."""

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from engine.core.errors import UsageError

MIN_ANSWER = 16  # tokens of room to keep for the answer, as long as leaving out older turns can make it


class Fitted(NamedTuple):
    """A prompt that leaves room for at least one token."""

    prompt: list[int]
    truncated: int  # oldest turns that are not in it


class ContextExceeded(UsageError):
    """The last message alone does not fit."""

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt takes {tokens:,} tokens, but the model's context is {context:,} tokens, answer included. "
            "Shorten it."
        )


def fit(prompt_without: Callable[[int], list[int]], turns: int, context: int, truncate: bool = True) -> Fitted:
    """The prompt of as many of the latest turns as fit into `context` tokens.

    `prompt_without(n)`: the tokens without the `n` oldest of `turns` turns; at least the last one stays. Turns are left
    out only where that makes room for an answer of MIN_ANSWER tokens; a last turn that leaves less is still answered.
    Without `truncate` all turns stay. Raises ContextExceeded where not one token would be left for the answer.
    """
    prompt, truncated = prompt_without(0), 0
    if truncate and turns > 1 and len(prompt) + MIN_ANSWER > context:
        # the fewest turns after which it fits, by bisection: a request may hold very many
        most = context - MIN_ANSWER
        truncated = bisect_left(range(turns), True, key=lambda n: len(prompt_without(n)) <= most, hi=turns - 1)
        prompt = prompt_without(truncated)
    if len(prompt) >= context:
        raise ContextExceeded(len(prompt), context)
    return Fitted(prompt, truncated)
