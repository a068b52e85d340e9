"""The rows of a question as one: what they begin with is run once, and their different ends behind it."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import neg
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.evaluate.row_batches import Row
from engine.model.branches import Branches
from engine.model.gpt import GPT

ALIKE = 0.75  # rows at least so long, measured by the longest, are run with it
SMALLER = 8  # times, that a batch may be than the largest allowed


class Packed(NamedTuple):
    """Rows that share their beginning, in one row of n tokens."""

    tokens: np.ndarray  # (n,) the beginning, then each different end
    positions: np.ndarray  # (n,) of the token in the row that it comes from
    branch: np.ndarray  # (n,) 0 in the beginning, else which end
    shared: int  # tokens of the beginning
    wanted: tuple[np.ndarray, ...]  # for each of the rows: where the hidden states from its `start` on are


def pack(rows: Sequence[Row]) -> Packed:
    """Rows as one. Equal ends stand there once, and an end that is empty (a row that begins all others) not at all."""
    shared = common_prefix([row.tokens for row in rows])
    tokens, positions, branch = [rows[0].tokens[:shared]], [np.arange(shared)], [np.zeros(shared, np.int64)]
    places: dict[bytes, int] = {b"": shared}
    length = shared
    wanted = []
    for row in rows:
        end = row.tokens[shared:]
        key = end.tobytes()
        if key not in places:
            places[key] = length
            tokens.append(end)
            positions.append(np.arange(shared, len(row.tokens)))
            branch.append(np.full(len(end), len(places) - 1))
            length += len(end)
        at = np.arange(row.start, len(row.tokens))
        wanted.append(np.where(at < shared, at, at + places[key] - shared))
    return Packed(np.concatenate(tokens), np.concatenate(positions), np.concatenate(branch), shared, tuple(wanted))


def common_prefix(rows: Sequence[np.ndarray]) -> int:
    """How many tokens all rows begin with."""
    shortest = min(map(len, rows))
    different = np.zeros(shortest, bool)
    for row in rows[1:]:
        different |= row[:shortest] != rows[0][:shortest]
    return int(different.argmax()) if different.any() else shortest


@torch.no_grad()
def run(model: GPT, batch: Sequence[Packed]) -> Tensor:
    """The hidden states (m, d) that the packed rows want: of the first its first row's, its second row's, and so on."""
    length = max(len(packed.tokens) for packed in batch)
    tokens, positions, branch = (np.zeros((len(batch), length), np.int64) for _ in range(3))
    for place, packed in enumerate(batch):
        here = place, slice(len(packed.tokens))
        tokens[here], positions[here], branch[here] = packed.tokens, packed.positions, packed.branch
    wanted = np.concatenate([place * length + at for place, packed in enumerate(batch) for at in packed.wanted])
    ids = torch.from_numpy(tokens).to(model.device, non_blocking=True)
    if not branch.any():  # plain rows, padded on the right, which causal attention never sees
        hidden = model.trunk(ids)
    else:
        shared = min(packed.shared for packed in batch)
        at, of = (torch.from_numpy(array).to(model.device, non_blocking=True) for array in (positions, branch))
        hidden = model.trunk(ids, Branches(at, of, shared, int(positions.max()) + 1, model.compute_dtype))
    return hidden.flatten(0, 1)[torch.from_numpy(wanted).to(model.device, non_blocking=True)]


def by_length(packed: Sequence[Packed]) -> list[int]:
    """Indices, the longest first, so that memory runs out at once or not at all; equals by their beginnings, since
    a batch can use plain causal attention up to the length of the shortest."""
    return sorted(range(len(packed)), key=lambda i: (-len(packed[i].tokens), packed[i].shared))


def batch_size(lengths: Sequence[int], max_tokens: int) -> int:
    """How many of the longest rows, whose falling lengths these are, make the next batch of at most `max_tokens`.

    At least one. Rows much shorter than the first would be mostly padding; they are left to a batch of their own where
    this one is large enough to keep a device busy.
    """
    most = max(1, max_tokens // lengths[0])
    enough = -(-max_tokens // (SMALLER * lengths[0]))
    alike = bisect_right(lengths, -ALIKE * lengths[0], key=neg)
    return min(most, max(enough, alike), len(lengths))
