"""Many answers at once: one that cannot be computed costs those beside it, and never the thread that writes them."""

import queue
from collections.abc import Iterator

import pytest

from engine.inference.batching import Batcher, Failed, GenerationRequest
from engine.inference.detokenizer import Piece
from engine.inference.engine import ChatEngine, Finish
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.plan.shape import Shape
from tests.helpers.byte_tokenizer import byte_tokenizer


@pytest.fixture(scope="module")
def engine() -> ChatEngine:
    tokenizer = byte_tokenizer("hello")
    model = GPT(Shape(depth=2, width=128, heads=1, vocab_size=tokenizer.vocab_size, max_seq_len=32))
    model.init_weights(1)
    model.head.weight.data.normal_()
    return ChatEngine(model, tokenizer, name="tiny", stage="pretrain", step=1)


@pytest.fixture
def batcher(engine: ChatEngine) -> Iterator[Batcher]:
    batcher = Batcher(engine)
    yield batcher
    batcher.close()


def answer(batcher: Batcher, prompt: list[int]) -> tuple[str, Finish | Failed]:
    """The text of the greedy answer, and how it ended."""
    delivered: queue.Queue[Piece | Finish | Failed] = queue.Queue()
    batcher.submit(GenerationRequest(prompt, 8, Sampling(temperature=0), 0, []), delivered.put)
    text = ""
    while isinstance(item := delivered.get(timeout=60), Piece):
        text += item.text
    return text, item


def test_after_an_answer_that_fails_the_next_is_written_from_nothing_of_it(
    engine: ChatEngine, batcher: Batcher
) -> None:
    prompt = list(b"once upon")
    _, ended = answer(batcher, [*prompt, engine.tokenizer.vocab_size])  # no such token: computing it raises
    assert isinstance(ended, Failed)
    undisturbed = Batcher(engine)
    assert answer(batcher, [*prompt, 7]) == answer(undisturbed, [*prompt, 7])
    undisturbed.close()


def test_a_cache_for_which_there_is_no_memory_fails_where_it_is_asked_for(engine: ChatEngine) -> None:
    with pytest.raises(RuntimeError):
        Batcher(engine, rows=10**12)
