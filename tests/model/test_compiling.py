"""Compiling for exact sizes: every size that a run can have is compiled, none runs uncompiled in silence."""

import torch
from torch._dynamo.utils import counters

from engine.model.compiling import compile_for_each_size

# batches of 31 rows, halved as often as they can be: what is cut off is of another size each time
HALVINGS = [31, 16, 15, 8, 7, 4, 3, 2, 1]


def test_every_piece_of_an_odd_batch_is_compiled_when_it_is_halved_to_the_end() -> None:
    torch._dynamo.reset()
    counters.clear()
    twice = compile_for_each_size(lambda rows: rows * 2, backend="eager")
    pieces = {len(piece) for splits in (1, 2, 4, 8, 16, 32) for piece in torch.ones(31, 4).chunk(splits)}
    assert sorted(pieces, reverse=True) == HALVINGS and len(pieces) > 8  # torch's own limit
    for rows in HALVINGS:
        for grad in (True, False):  # an evaluation is compiled apart
            with torch.set_grad_enabled(grad):
                assert torch.equal(twice(torch.ones(rows, 4)), torch.full((rows, 4), 2.0))
    assert counters["stats"]["unique_graphs"] == 2 * len(HALVINGS)
    before = dict(counters["stats"])
    twice(torch.ones(31, 4))
    assert dict(counters["stats"]) == before  # known sizes are not compiled again
