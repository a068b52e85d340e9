"""A model's answers to problems, graded: multiple choice, or generated text with the calculator."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from engine.data.chat.conversation import prompt_of
from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.problems import Problem
from engine.evaluate.row_batches import Row, hidden_states
from engine.inference.calculator import Calculator
from engine.inference.decoder import Request, Token, generate_all
from engine.inference.detokenizer import AnswerReader
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.model.placing import on_device

GREEDY = Sampling(temperature=0.0)


class GradedAnswers(NamedTuple):
    """The answers to some problems, and their grades."""

    right: list[bool]
    ended: list[bool]  # whether the answer came to its end token; always so for multiple choice
    answers: list[str]  # with programs and their output


def answer_multiple_choice(
    model: GPT, tokenizer: Tokenizer, problems: Sequence[Problem], max_tokens: int
) -> GradedAnswers:
    """The most probable of each problem's choices as the first token of the answer (as in nanochat), in batches of
    similar length of at most `max_tokens` tokens."""
    rows = [_row(prompt_of(problem.prompt, tokenizer)) for problem in problems]
    answers = [""] * len(problems)
    for indices, hidden in hidden_states(model, rows, max_tokens):
        # a letter is one byte, and every byte is a token
        options = [[tokenizer.encode(letter)[0] for letter in problems[index].choices] for index in indices]
        for index, choice in zip(indices, most_probable_options(model.logits(hidden), options), strict=True):
            answers[index] = problems[index].choices[choice]
    right = [answer == problem.answer for answer, problem in zip(answers, problems, strict=True)]
    return GradedAnswers(right, [True] * len(problems), answers)


def most_probable_options(logits: Tensor, options: Sequence[Sequence[int]]) -> list[int]:
    """Which of its options (token ids) is the most probable in each row of logits (B, V); the first of equals."""
    longest = max(map(len, options))
    # rows of one length, padded with the first option: its copies come later, so they never win
    ids = on_device([[*some, *[some[0]] * (longest - len(some))] for some in options], logits.device)
    return [int(choice) for choice in logits.gather(1, ids).argmax(1).tolist()]


def write_answers(
    model: GPT,
    tokenizer: Tokenizer,
    problems: Sequence[Problem],
    max_new_tokens: int,
    rows: int,
) -> GradedAnswers:
    """Answers of the most probable tokens, with the calculator, graded by each problem, `rows` at once."""
    requests = [
        Request(
            key=number,
            prompt=prompt_of(problem.prompt, tokenizer),
            max_new_tokens=max_new_tokens,
            sampling=GREEDY,
            stop_ids=stop_ids(tokenizer),
            force=Calculator(tokenizer),
        )
        for number, problem in enumerate(problems)
    ]
    written = generate_all(model, requests, rows)
    right = [is_right(problem, tokenizer, tokens) for problem, tokens in zip(problems, written, strict=True)]
    ended = [has_ended(tokenizer, tokens) for tokens in written]
    return GradedAnswers(right, ended, [show_answer(tokenizer, tokens) for tokens in written])


def is_right(problem: Problem, tokenizer: Tokenizer, tokens: Sequence[Token]) -> bool:
    """Whether a generated answer is right, by its text without programs and their output."""
    reader = AnswerReader(tokenizer)
    for token in tokens:
        if token.end != "stop":
            reader.read(token.id)
    reader.finish()
    return problem.is_right is not None and problem.is_right(reader.text)


def stop_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that end an answer: its end token, or the start of another conversation."""
    return frozenset({tokenizer.special_ids["<|assistant_end|>"], tokenizer.bos_id})


def has_ended(tokenizer: Tokenizer, tokens: Sequence[Token]) -> bool:
    """Whether an answer ends with its end token."""
    return bool(tokens) and tokens[-1].id == tokenizer.special_ids["<|assistant_end|>"]


def show_answer(tokenizer: Tokenizer, tokens: Sequence[Token]) -> str:
    """An answer with all of its tokens spelled out, except the one that ended it."""
    ids = [token.id for token in tokens]
    return tokenizer.decode(ids[:-1] if tokens and tokens[-1].end == "stop" else ids)


def _row(prompt: list[int]) -> Row:
    return Row(np.array(prompt, np.int64), len(prompt) - 1)
