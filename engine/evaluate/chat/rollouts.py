"""Rollouts: answers drawn from the model to a problem, each with its reward."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from engine.data.chat.conversation import prompt_of
from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.answers import is_right, stop_ids
from engine.evaluate.chat.problems import Problem
from engine.inference.calculator import Calculator
from engine.inference.decoder import Request, Token, generate_all
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT


class Rollout(NamedTuple):
    """One answer to a problem, and its reward."""

    prompt: list[int]
    tokens: list[Token]
    reward: float


def sample_rollouts(
    model: GPT,
    tokenizer: Tokenizer,
    problem: Problem,
    count: int,
    max_new_tokens: int,
    sampling: Sampling,
    seed: str,
    rows: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[Rollout]:
    """`count` answers, drawn `rows` at a time, each with a reward of 1 when it is right, else 0. The same seed gives
    the same answers whatever `rows` is, up to rounding. Raises Interrupted."""
    prompt = prompt_of(problem.prompt, tokenizer)
    requests = [
        Request(
            key=number,
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            seed=_number(f"{seed} {number}"),
            stop_ids=stop_ids(tokenizer),
            force=Calculator(tokenizer),
        )
        for number in range(count)
    ]
    written = generate_all(model, requests, rows, interrupted)
    return [Rollout(prompt, tokens, float(is_right(problem, tokenizer, tokens))) for tokens in written]


def _number(text: str) -> int:
    """A seed from a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
