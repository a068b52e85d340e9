"""Training, encoding, decoding and keeping a vocabulary."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from engine.config.schema import TokenizerConfig
from engine.core.errors import NanosoloError, UsageError
from engine.data.tokenizer import SPECIAL_TOKENS, SPLIT_PATTERN, Tokenizer, train_tokenizer
from tests.helpers.texts import corpus_of, sentences


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    corpus = corpus_of(tmp_path_factory.mktemp("corpus"), sentences(400))
    return train_tokenizer(corpus, TokenizerConfig(vocab_size=450))


def merge_by_hand(text: str, tokens: list[bytes]) -> list[int]:
    """Byte-pair encoding as its definition has it: in each piece, join the pair of lowest rank until none is left."""
    rank = {token: i for i, token in enumerate(tokens)}
    ids = []
    for piece in regex.findall(SPLIT_PATTERN, text):
        parts = [bytes([byte]) for byte in piece.encode()]
        while True:
            pairs = [(rank.get(a + b, len(rank)), i) for i, (a, b) in enumerate(pairwise(parts))]
            best, at = min(pairs, default=(len(rank), 0))
            if best == len(rank):
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [rank[part] for part in parts]
    return ids


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes()[ids].sum() == len(text.encode())


PARTS = [*"the model's number 12345,.\n\t é", "  ", "next one", "river", " machines"]


@given(parts=st.lists(st.sampled_from(PARTS), max_size=60))
def test_ids_are_those_of_the_definition(tokenizer: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    tokens = [tokenizer._encoding.decode_single_token_bytes(i) for i in range(tokenizer.vocab_size - 9)]
    assert tokenizer.encode(text) == merge_by_hand(text, tokens)


@given(parts=st.lists(st.sampled_from([*SPECIAL_TOKENS, " a"]), max_size=5))
def test_text_never_yields_special_ids(tokenizer: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    assert not set(tokenizer.encode(text)) & set(tokenizer.special_ids.values())
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_come_last(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab_size == 450
    assert list(tokenizer.special_ids.values()) == list(range(441, 450))
    assert tokenizer.bos_id == tokenizer.special_ids["<|bos|>"] == 441
    assert tokenizer.decode([tokenizer.bos_id, *tokenizer.encode("hi")]) == "<|bos|>hi"
    table = tokenizer.token_bytes()
    assert table.shape == (450,)
    assert table.dtype == np.int32
    assert (table[441:] == 0).all()
    assert (table[:441] > 0).all()


def test_numbers_are_split_in_groups_of_two(tokenizer: Tokenizer) -> None:
    assert regex.findall(SPLIT_PATTERN, "year 20261 don't") == ["year", " ", "20", "26", "1", " don", "'t"]


def test_a_batch_on_threads_equals_one_by_one(tokenizer: Tokenizer) -> None:
    texts = ["", *sentences(50, seed=3)]
    batch = tokenizer.encode_batch(texts, threads=3)
    assert [ids.tolist() for ids in batch] == [tokenizer.encode(text) for text in texts]
    assert all(ids.dtype == np.uint16 for ids in batch)


def test_a_million_blanks_in_a_row(tokenizer: Tokenizer) -> None:
    text = "a" + " " * 1_200_000 + "b"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_training_twice_gives_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    again = train_tokenizer(corpus_of(tmp_path, sentences(400)), TokenizerConfig(vocab_size=450))
    other = train_tokenizer(corpus_of(tmp_path, sentences(400)), TokenizerConfig(vocab_size=400))
    assert again.identity() == tokenizer.identity() != other.identity()


def test_training_takes_no_more_text_than_asked(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    config = TokenizerConfig(vocab_size=266, train_chars=5_000, max_chars_per_document=30)
    train_tokenizer(corpus_of(tmp_path, sentences(400)), config, lambda *report: seen.append(report))
    assert seen[-1] == (5_000, 5_000, "characters")
    with pytest.raises(UsageError, match=r"tokenizer.vocab_size = 4096: 20 characters .* at most \d+\. "):
        config = TokenizerConfig(vocab_size=4096, train_chars=20)
        train_tokenizer(corpus_of(tmp_path, ["abcdefghij" * 3] * 3, 0.0001), config)


def test_the_largest_possible_vocabulary_that_the_error_names_works(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, sentences(20))
    with pytest.raises(UsageError) as caught:
        train_tokenizer(corpus, TokenizerConfig(vocab_size=60_000))
    largest = int(str(caught.value).split("at most ")[1].split(".")[0])
    assert train_tokenizer(corpus, TokenizerConfig(vocab_size=largest)).vocab_size == largest


def test_saved_and_loaded_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "new")
    loaded = Tokenizer.load(tmp_path / "new")
    assert loaded.identity() == tokenizer.identity()
    assert loaded.encode("the river reads 123") == tokenizer.encode("the river reads 123")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda stored: stored | {"format": 99}, "format 99"),
        (lambda stored: stored | {"tokens": stored["tokens"][:200]}, "200 tokens"),
        (lambda stored: stored | {"tokens": stored["tokens"][1:]}, "256 bytes"),
        (lambda stored: stored | {"tokens": [*stored["tokens"], stored["tokens"][300]]}, "twice"),
        (lambda stored: stored | {"tokens": ["not base64!"]}, "not a tokenizer"),
        (lambda stored: stored | {"special_tokens": ["<eos>"]}, "special tokens"),
        (lambda stored: {"format": 1}, "not a tokenizer"),
    ],
)
def test_a_damaged_file_says_so(tokenizer: Tokenizer, tmp_path: Path, damage, says: str) -> None:
    path = tokenizer.save(tmp_path)
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(NanosoloError) as caught:
        Tokenizer.load(tmp_path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_torn_file_says_so(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(NanosoloError, match="no tokenizer at"):
        Tokenizer.load(tmp_path)
    path = tokenizer.save(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(NanosoloError, match="is not a tokenizer"):
        Tokenizer.load(tmp_path)


def test_decode_refuses_ids_outside_the_vocabulary(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="token 450"):
        tokenizer.decode([1, 450])
    assert tokenizer.decode([0x80]) == "\ufffd" or tokenizer.token_bytes()[0x80] == 1
