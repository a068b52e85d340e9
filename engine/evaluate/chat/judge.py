"""A model's answers to problems: the likeliest letter, or what it writes with its tools at hand."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from engine.chat.conversation import prompt_of
from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.problems import Problem
from engine.evaluate.rows import Row, hidden_states
from engine.model.generate import Force, Request, Token, generate_all
from engine.model.gpt import GPT
from engine.model.sample import Sampling

GREEDY = Sampling(temperature=0.0)


class Judged(NamedTuple):
    """How the answers to some problems were."""

    right: list[bool]
    ended: list[bool]  # whether the answer came to its end token; always so for letters
    answers: list[str]


def choose_letters(model: GPT, tokenizer: Tokenizer, problems: Sequence[Problem], max_tokens: int) -> Judged:
    """The likeliest of each problem's letters as the first token of the answer (nanochat), in batches of like length
    of at most `max_tokens` tokens."""
    rows = [_row(prompt_of(problem.prompt, tokenizer)) for problem in problems]
    answers = [""] * len(problems)
    for indices, hidden in hidden_states(model, rows, max_tokens):
        logits = model.logits(hidden)
        for place, index in enumerate(indices):
            letters = problems[index].letters
            # a letter is one byte, and every byte is a token
            ids = torch.tensor([tokenizer.encode(letter)[0] for letter in letters], device=logits.device)
            answers[index] = letters[int(logits[place, ids].argmax())]
    right = [answer == problem.answer for answer, problem in zip(answers, problems, strict=True)]
    return Judged(right, [True] * len(problems), answers)


def write_answers(
    model: GPT,
    tokenizer: Tokenizer,
    problems: Sequence[Problem],
    max_new_tokens: int,
    rows: int,
    new_tool: Callable[[], Force] | None = None,
) -> Judged:
    """Answers of the likeliest tokens, judged by each problem; `rows` of them are written at the same time.

    `new_tool` gives what watches one answer's tokens and forces those that a tool's result consists of.
    """
    requests = [
        Request(
            key=number,
            prompt=prompt_of(problem.prompt, tokenizer),
            max_new_tokens=max_new_tokens,
            sampling=GREEDY,
            stop_ids=stop_ids(tokenizer),
            force=new_tool() if new_tool else None,
        )
        for number, problem in enumerate(problems)
    ]
    written = generate_all(model, requests, rows)
    answers = [text_of_answer(tokenizer, tokens) for tokens in written]
    right = [
        problem.is_right is not None and problem.is_right(answer)
        for problem, answer in zip(problems, answers, strict=True)
    ]
    return Judged(right, [has_ended(tokenizer, tokens) for tokens in written], answers)


def stop_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens after which an answer is over: its end, or the beginning of another conversation."""
    return frozenset({tokenizer.special_ids["<|assistant_end|>"], tokenizer.bos_id})


def has_ended(tokenizer: Tokenizer, tokens: Sequence[Token]) -> bool:
    """Whether an answer ends with its end token."""
    return bool(tokens) and tokens[-1].id == tokenizer.special_ids["<|assistant_end|>"]


def text_of_answer(tokenizer: Tokenizer, tokens: Sequence[Token]) -> str:
    """An answer as text, programs and their results included, without the token that stopped it."""
    ids = [token.id for token in tokens]
    return tokenizer.decode(ids[:-1] if tokens and tokens[-1].end == "stop" else ids)


def _row(prompt: list[int]) -> Row:
    return Row(np.array(prompt, np.int64), len(prompt) - 1)
