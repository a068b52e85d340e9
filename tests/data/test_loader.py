"""The order of rows, exact resumption, and the end of the data."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.config.schema import TokenizerConfig
from engine.core.errors import NanosoloError, UsageError
from engine.data.loader import Loader, LoaderState, _pinned, evaluation_batches, rows_of
from engine.data.order import permutation
from engine.data.tokenizer import train_tokenizer
from engine.data.tokens import TokenSet, tokenize
from tests.helpers.texts import corpus_of, sentences

T = 32


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    folder = tmp_path_factory.mktemp("tokens")
    corpus = corpus_of(folder, sentences(120))
    tokenizer = train_tokenizer(corpus, TokenizerConfig(vocab_size=400))
    return tokenize(corpus, tokenizer, folder / "tokens", tokens_per_file=500)


def loader(tokens: TokenSet, batch_size: int, **settings) -> Loader:
    fixed = {"seq_len": T, "seed": 7, "shuffle": True, "on_exhausted": "epoch"}
    return Loader(tokens, "train", batch_size, **(fixed | settings))


def rows(tokens: TokenSet, batch_size: int, batches: int, **settings) -> list[list[int]]:
    with loader(tokens, batch_size, **settings) as source:
        return [row.tolist() for batch in islice(source, batches) for row in batch.tokens]


def test_rows_are_consecutive_windows_with_their_successors(tokens: TokenSet) -> None:
    stream = tokens.read("train", 0, tokens.tokens("train")).tolist()
    count = rows_of(tokens, "train", T)
    assert count > 20
    with loader(tokens, 1, shuffle=False) as source:
        for i, batch in enumerate(islice(source, count)):
            assert batch.tokens.shape == batch.targets.shape == (1, T)
            assert batch.tokens.dtype == batch.targets.dtype == torch.int64
            assert batch.tokens[0].tolist() == stream[i * T : (i + 1) * T]
            assert batch.targets[0].tolist() == stream[i * T + 1 : (i + 1) * T + 1]
            assert batch.epoch == 0


def test_an_epoch_gives_every_row_once_in_an_order_of_its_own(tokens: TokenSet) -> None:
    count = rows_of(tokens, "train", T)
    plain = rows(tokens, 1, count, shuffle=False)
    two = rows(tokens, 1, 2 * count)
    assert sorted(two[:count]) == sorted(two[count:]) == sorted(plain)
    assert two[:count] != plain
    assert two[:count] != two[count:]
    assert rows(tokens, 1, count) == two[:count]
    assert rows(tokens, 1, count, seed=8) != two[:count]


@given(taken=st.integers(0, 60), first=st.integers(1, 9), second=st.integers(1, 9), shuffle=st.booleans())
def test_any_state_goes_on_exactly_with_any_batch_size(
    tokens: TokenSet, taken: int, first: int, second: int, shuffle: bool
) -> None:
    straight = rows(tokens, 1, taken * first + 2 * second, shuffle=shuffle)
    state = LoaderState()
    with loader(tokens, first, shuffle=shuffle) as source:
        for batch in islice(source, taken):
            state = batch.state
    assert rows(tokens, second, 2, state=state, shuffle=shuffle) == straight[taken * first :]


def test_a_batch_tells_its_epoch(tokens: TokenSet) -> None:
    count = rows_of(tokens, "train", T)
    with loader(tokens, count - 1) as source:
        batches = list(islice(source, 3))
    assert [batch.epoch for batch in batches] == [0, 0, 1]
    assert batches[0].state == LoaderState(0, count - 1)
    assert batches[1].state == LoaderState(1, count - 2)
    with loader(tokens, count) as source:
        assert [batch.epoch for batch in islice(source, 3)] == [0, 1, 2]


def test_the_end_of_the_data_is_an_error_where_asked_for(tokens: TokenSet) -> None:
    count = rows_of(tokens, "train", T)
    with loader(tokens, 4, on_exhausted="error") as source:
        whole = list(islice(source, count // 4))
        assert len(whole) == count // 4
        for _ in range(2):
            with pytest.raises(NanosoloError, match=rf"{tokens.tokens('train'):,} tokens .*data.on_exhausted"):
                next(source)


def test_too_little_text_for_one_batch(tokens: TokenSet) -> None:
    with pytest.raises(UsageError, match=r"fewer than one batch of 4096.*batch size of the stage"):
        loader(tokens, 4096, on_exhausted="error")
    with pytest.raises(UsageError, match="fewer than one row"):
        loader(tokens, 4, seq_len=100_000)


def test_a_batch_of_few_rows_goes_over_them_several_times(tokens: TokenSet) -> None:
    count = rows_of(tokens, "train", T)
    many = 2 * count + 3
    assert rows(tokens, many, 2) == rows(tokens, 1, 2 * many)
    with loader(tokens, many) as source:
        assert next(source).state == LoaderState(epoch=2, row=3)


def test_a_state_of_other_tokens_is_refused(tokens: TokenSet) -> None:
    with pytest.raises(UsageError, match="cannot resume at row 100,000"):
        loader(tokens, 1, state=LoaderState(0, 100_000))


def test_an_error_in_the_thread_reaches_the_consumer(tokens: TokenSet, tmp_path: Path) -> None:
    class Broken(TokenSet):
        def read(self, split, start, count):  # type: ignore[no-untyped-def]
            raise OSError("the disk went away")

    with loader(Broken(tokens.directory, tokens.index), 2) as source, pytest.raises(OSError, match="went away"):
        next(source)


def test_closing_stops_the_thread_even_when_nobody_takes_batches(tokens: TokenSet) -> None:
    source = loader(tokens, 2, prefetch=1)
    next(source)
    source.close()
    source.close()
    assert not source._thread.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        next(source)


def test_a_program_that_forgets_to_close_still_ends(tokens: TokenSet) -> None:
    program = f"""
from pathlib import Path
from engine.data.loader import Loader
from engine.data.tokens import open_tokens
source = Loader(open_tokens(Path({str(tokens.directory)!r})), "train", 2, {T}, 7, True, "epoch")
print(next(source).tokens.shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == f"torch.Size([2, {T}])"


def test_evaluation_batches_cover_the_split_or_rows_spread_over_it(tokens: TokenSet) -> None:
    count = rows_of(tokens, "validation", T)
    stream = torch.from_numpy(tokens.read("validation", 0, count * T + 1).astype(np.int64))
    batches = list(evaluation_batches(tokens, "validation", 4, T, 10**9))
    assert sum(len(inputs) for inputs, _ in batches) == count
    assert [len(inputs) for inputs, _ in batches] == [4] * (count // 4) + [count % 4] * (count % 4 > 0)
    assert torch.equal(torch.cat([inputs.flatten() for inputs, _ in batches]), stream[:-1])
    assert torch.equal(torch.cat([targets.flatten() for _, targets in batches]), stream[1:])
    spread = [inputs for inputs, _ in evaluation_batches(tokens, "validation", 4, T, 5 * T + 3)]
    rows = torch.arange(5) * count // 5
    assert torch.equal(torch.cat(spread), stream[:-1].view(count, T)[rows])
    assert sum(inputs.numel() for inputs, _ in evaluation_batches(tokens, "validation", 4, T, 1)) == T


def test_validation_text_shorter_than_a_row(tokens: TokenSet) -> None:
    with pytest.raises(UsageError, match="fewer than one row of 100000"):
        next(evaluation_batches(tokens, "validation", 1, 100_000, 10))


@given(count=st.integers(0, 300), seed=st.integers(-5, 2**70), epoch=st.integers(0, 1000))
def test_permutation_is_one(count: int, seed: int, epoch: int) -> None:
    assert sorted(permutation(count, seed, epoch).tolist()) == list(range(count))


def test_permutation_is_pinned_for_ever() -> None:
    assert permutation(10, seed=42, epoch=0).tolist() == [4, 3, 5, 8, 0, 9, 7, 6, 1, 2]
    assert permutation(10, seed=42, epoch=1).tolist() == [8, 7, 1, 9, 0, 3, 4, 6, 5, 2]


def test_permutations_look_random() -> None:
    orders = np.array([permutation(50, seed=1, epoch=e) for e in range(400)])
    assert abs(orders.mean(axis=0) - 24.5).max() < 4  # each place sees all rows: 5.5 standard errors


class Unpinnable:
    """A tensor on a host that locks no memory, or is broken."""

    def __init__(self, message: str) -> None:
        self.message = message

    def pin_memory(self) -> None:
        raise RuntimeError(self.message)


def test_memory_that_cannot_be_pinned_is_the_hosts() -> None:
    with pytest.raises(MemoryError, match="host memory"):
        _pinned(Unpinnable("CUDA error: out of memory"))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="illegal"):
        _pinned(Unpinnable("CUDA error: an illegal memory access was encountered"))  # type: ignore[arg-type]
