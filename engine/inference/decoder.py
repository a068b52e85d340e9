"""Continuous batching: decodes many sequences of any length together, each with its own settings."""

import random
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import torch

from engine.core.errors import Interrupted, UsageError
from engine.inference.sampler import sample
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.model.placing import on_device
from engine.plan.stage_memory import PREFILL_TOKENS

End = Literal["stop", "length"]
Force = Callable[[int], Sequence[int]]


class Request(NamedTuple):
    """One sequence to continue.

    `force` is called with every new token and returns the tokens that must follow it (the output of a tool). They
    count as new tokens too.
    """

    key: Hashable  # identifies its tokens
    prompt: Sequence[int]
    max_new_tokens: int
    sampling: Sampling = Sampling()
    seed: int = 0
    stop_ids: Collection[int] = ()
    force: Force | None = None


class Token(NamedTuple):
    """A new token of one sequence."""

    key: Hashable
    id: int
    forced: bool  # not sampled from the model
    end: End | None  # the reason if it is the last one: a stop id, or the limit


class _Row:
    """A sequence in progress: its tokens and the forced tokens that come next."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.tokens = list(request.prompt)  # all but the last are in the cache after the prefill
        self.forced: deque[int] = deque()
        # one generator per sequence, so that its text does not depend on the other rows
        self.random = random.Random(request.seed)


class Decoder:
    """Decodes up to `rows` sequences together. Call `add`, then `step` until `active` is 0.

    Each sequence yields the same tokens as alone, up to the rounding of a larger matrix product.
    """

    def __init__(self, model: GPT, capacity: int, rows: int = 1, *, keeps_prefix: bool = False) -> None:
        """`capacity`: most tokens of one sequence, prompt included. `keeps_prefix`: a single sequence reuses the
        cached prefix that it shares with the previous one (the turns of a chat)."""
        self._model = model
        self._cache = model.new_cache(capacity, rows)
        self._free = rows
        self._rows: list[_Row] = []  # row i of the cache belongs to self._rows[i]
        self._waiting: deque[Request] = deque()
        self._keeps_prefix = keeps_prefix
        self._kept: list[int] = []  # the tokens still cached in row 0

    @property
    def active(self) -> int:
        """The number of unfinished sequences, including those that wait for a row."""
        return len(self._rows) + len(self._waiting)

    def add(self, request: Request) -> None:
        """Queue a sequence until a row is free. Raises UsageError if it cannot be decoded."""
        request.sampling.check()
        if not request.prompt:
            raise UsageError("the prompt has no tokens. Start it with the beginning-of-sequence token.")
        if request.max_new_tokens < 1:
            return
        if len(request.prompt) >= self._cache.capacity:
            raise UsageError(
                f"the prompt has {len(request.prompt):,} tokens, but at most {self._cache.capacity - 1:,} leave room "
                "for an answer. Shorten it."
            )
        self._waiting.append(request)

    def cancel(self, key: Hashable) -> None:
        """Remove a sequence. No effect after its end."""
        self._waiting = deque(request for request in self._waiting if request.key != key)
        for place, row in enumerate(self._rows):
            if row.request.key == key:
                self._remove(place)
                return

    def clear(self) -> None:
        """Remove all sequences, for example after `step` raised, when the cache content is unknown."""
        self._rows.clear()
        self._waiting.clear()
        self._kept = []

    def step(self) -> list[Token]:
        """The next token of every sequence that has a row."""
        with torch.inference_mode():
            before = len(self._rows)
            tokens = self._decode() if before else []
            joined = self._join(before)
        tokens += joined
        for place in reversed(range(len(tokens))):
            if tokens[place].end:
                self._remove(place)
        return tokens

    def _decode(self) -> list[Token]:
        window = self._cache.window(0, [len(row.tokens) - 1 for row in self._rows])
        last = on_device([[row.tokens[-1]] for row in self._rows], self._model.device)
        return self._draw(self._rows, self._model.logits(self._model.trunk(last, window)[:, 0]))

    def _join(self, first: int) -> list[Token]:
        """Assign free rows to waiting sequences, compute their prompts, sample their first tokens."""
        count = min(self._free - first, len(self._waiting))
        if count <= 0:
            return []
        # prompts of similar length need little padding; equal prompts (many samples of one) are computed once
        new = sorted((self._waiting.popleft() for _ in range(count)), key=lambda r: (len(r.prompt), list(r.prompt)))
        self._rows += [_Row(request) for request in new]
        groups = [list(same) for _, same in groupby(range(count), key=lambda i: list(new[i].prompt))]
        tokens: list[Token] = []
        while groups:
            longest = len(new[groups[-1][0]].prompt)
            batch = groups[-max(1, PREFILL_TOKENS // longest) :]
            del groups[-len(batch) :]
            start = first + batch[0][0]
            hidden = self._prefill(start, [list(new[same[0]].prompt) for same in batch])
            # the prompts are in the first rows; copy them to the rows of their duplicates, last first
            for place in reversed(range(len(batch))):
                for i in reversed(batch[place]):
                    if first + i != start + place:
                        self._cache.copy_row(start + place, first + i, len(new[i].prompt))
            copies = on_device([place for place, same in enumerate(batch) for _ in same], hidden.device)
            rows = self._rows[start : start + len(copies)]
            tokens = self._draw(rows, self._model.logits(hidden)[copies]) + tokens
        return tokens

    def _prefill(self, first: int, prompts: list[list[int]]) -> torch.Tensor:
        """Compute prompts into rows starting at `first`. Returns the hidden states (B, d) of their last tokens."""
        shared = self._shared_prefix(prompts[0]) if len(self._rows) == 1 else 0
        if first == 0:
            self._kept = self._rows[0].tokens if self._keeps_prefix else []
        longest = max(map(len, prompts))
        # right padding: causal attention hides it from earlier tokens, and new tokens overwrite it
        padded = [prompt[shared:] + [0] * (longest - len(prompt)) for prompt in prompts]
        window = self._cache.window(first, [shared] * len(prompts))
        hidden = self._model.trunk(on_device(padded, self._model.device), window)
        ends = on_device([len(prompt) - shared - 1 for prompt in prompts], hidden.device)
        return hidden[torch.arange(len(prompts), device=hidden.device), ends]

    def _shared_prefix(self, prompt: list[int]) -> int:
        """The number of prompt tokens already in row 0. At least one token is left to compute."""
        most = min(len(self._kept) - 1, len(prompt) - 1)
        return next((i for i in range(most) if self._kept[i] != prompt[i]), max(most, 0))

    def _draw(self, rows: list[_Row], logits: torch.Tensor) -> list[Token]:
        """The next token of each row, forced or sampled from logits (B, V)."""
        drawn: dict[int, int] = {}
        free = [i for i, row in enumerate(rows) if not row.forced]
        for sampling in dict.fromkeys(rows[i].request.sampling for i in free):
            places = [i for i in free if rows[i].request.sampling == sampling]
            some = logits if len(places) == len(rows) else logits[places]
            uniforms = [] if sampling.greedy else [rows[i].random.random() for i in places]
            drawn.update(zip(places, sample(some, sampling, uniforms), strict=True))
        return [self._take(row, drawn.get(i)) for i, row in enumerate(rows)]

    def _take(self, row: _Row, drawn: int | None) -> Token:
        request = row.request
        token = row.forced.popleft() if drawn is None else drawn
        row.tokens.append(token)
        if request.force is not None:
            row.forced.extend(request.force(token))
        full = len(row.tokens) - len(request.prompt) >= request.max_new_tokens or len(row.tokens) > self._cache.capacity
        end: End | None = "stop" if token in request.stop_ids else "length" if full else None
        return Token(request.key, token, drawn is None, end)

    def _remove(self, place: int) -> None:
        """Free a row by moving the last row into it."""
        last = self._rows.pop()
        if place < len(self._rows):
            self._cache.copy_row(len(self._rows), place, len(last.tokens) - 1)
            self._rows[place] = last
            if place == 0:
                self._kept = []


def generate(
    model: GPT,
    tokens: Sequence[int],
    max_new_tokens: int,
    sampling: Sampling,
    seed: int = 0,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Yield the ids that follow `tokens`: at most `max_new_tokens`, ending before the first stop id.

    The same seed and logits give the same text on every device. Raises UsageError for an empty prompt.
    """
    decoder = Decoder(model, len(tokens) + max_new_tokens)
    decoder.add(Request(None, tokens, max_new_tokens, sampling, seed, stop_ids))
    while decoder.active:
        for token in decoder.step():
            if token.end != "stop":
                yield token.id


def generate_all(
    model: GPT, requests: Sequence[Request], rows: int, interrupted: Callable[[], bool] = lambda: False
) -> list[list[Token]]:
    """All tokens of each request (keys are ignored), including stop ids, decoding `rows` requests at a time.

    A free row goes to the next request at once, longest prompt first. `interrupted` is called before each step of the
    decoder. Raises Interrupted when it returns True.
    """
    if not requests:
        return []
    capacity = max(len(request.prompt) + request.max_new_tokens for request in requests)
    decoder = Decoder(model, capacity, min(rows, len(requests)))
    for place in sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt)):
        decoder.add(requests[place]._replace(key=place))
    results: list[list[Token]] = [[] for _ in requests]
    while decoder.active:
        if interrupted():
            raise Interrupted
        for token in decoder.step():
            assert isinstance(token.key, int)
            results[token.key].append(token)
    return results
