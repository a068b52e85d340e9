"""A scenario in this process: how often the host waits for the device while a model answers."""

from collections.abc import Iterator

import counters
from findings import SYNCS, Check
from session import Session

from engine.config.schema import TokenizerConfig, heads_of, width_of
from engine.data.chat.conversation import Message, prompt_of
from engine.data.corpora.builtin_corpus import BuiltinCorpus
from engine.data.tokenizer import train_tokenizer
from engine.evaluate.chat.answers import answer_multiple_choice
from engine.evaluate.chat.problems import Problem
from engine.evaluate.row_batches import batches_of_like_length
from engine.inference.decoder import Request, generate_all
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.plan.shape import Shape

DEPTH = 4
PROBLEMS, ROWS = 64, 8
TOKENS = 12  # of an answer
TOKENS_AT_ONCE = 512  # of questions


def answers(session: Session) -> Iterator[Check]:
    """Multiple choice is read once per batch of questions, generated answers once per token of all rows."""
    tokenizer = train_tokenizer(BuiltinCorpus(0.02), TokenizerConfig(vocab_size=512, train_chars=100_000))
    shape = Shape(
        depth=DEPTH, width=width_of(DEPTH), heads=heads_of(DEPTH), vocab_size=tokenizer.vocab_size, max_seq_len=256
    )
    model = GPT(shape, device="cuda")
    letters = ("A", "B", "C", "D")
    problems = [Problem((Message("user", "x" * n),), letters[: 2 + n % 3], "A") for n in range(PROBLEMS)]
    prompts = [prompt_of(problem.prompt, tokenizer) for problem in problems]

    before = _syncs()
    answer_multiple_choice(model, tokenizer, problems, TOKENS_AT_ONCE)
    waited = _syncs() - before
    batches = sum(1 for _ in batches_of_like_length([len(prompt) for prompt in prompts], TOKENS_AT_ONCE))
    yield Check("answers", f"host syncs for {batches} batches of letters", str(waited), str(batches), waited == batches)

    for temperature in (0.0, 0.7):
        sampling = Sampling(temperature=temperature)
        requests = [Request(number, prompt, TOKENS, sampling) for number, prompt in enumerate(prompts[:ROWS])]
        before = _syncs()
        generate_all(model, requests, len(requests))
        waited = _syncs() - before
        what = f"host syncs for {TOKENS} tokens of {len(requests)} rows at temperature {temperature}"
        yield Check("answers", what, str(waited), str(TOKENS), waited == TOKENS)


def _syncs() -> int:
    found = counters.read()
    return sum(found[name] for name in SYNCS)
