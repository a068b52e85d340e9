"""Fits a conversation into the model's context: leaves out the oldest turns to keep room for the answer."""

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from engine.core.errors import UsageError

MIN_ANSWER = 16  # tokens to keep free for the answer, if leaving out older turns can free them


class Fitted(NamedTuple):
    """A prompt that leaves room for at least one token."""

    prompt: list[int]
    truncated: int  # number of oldest turns left out


class ContextExceeded(UsageError):
    """The last message does not fit, even without the earlier ones."""

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt takes {tokens:,} tokens, but the model's context is {context:,} tokens, answer included. "
            "Shorten it."
        )


def fit(prompt_without: Callable[[int], list[int]], turns: int, context: int, truncate: bool = True) -> Fitted:
    """The prompt with as many of the latest turns as fit into `context` tokens.

    `prompt_without(n)`: the tokens without the `n` oldest of `turns` turns. The last turn always stays. Turns are left
    out to make room for an answer of MIN_ANSWER tokens. If the last turn alone leaves less, it is still answered.
    Without `truncate`, all turns stay. Raises ContextExceeded if no token is left for the answer.
    """
    prompt, truncated = prompt_without(0), 0
    if truncate and turns > 1 and len(prompt) + MIN_ANSWER > context:
        # bisection for the fewest turns to leave out, as a request may hold very many
        most = context - MIN_ANSWER
        truncated = bisect_left(range(turns), True, key=lambda n: len(prompt_without(n)) <= most, hi=turns - 1)
        prompt = prompt_without(truncated)
    if len(prompt) >= context:
        raise ContextExceeded(len(prompt), context)
    return Fitted(prompt, truncated)
