"""Token files: what they hold, when they are used again, and what an interruption leaves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from engine.config.schema import TokenizerConfig
from engine.core.errors import NanosoloError
from engine.data.corpora.corpus import Corpus
from engine.data.token_writer import TokenWriter
from engine.data.tokenizer import Tokenizer, train_tokenizer
from engine.data.tokens import INDEX_NAME, TokenSet, open_tokens, tokenize
from tests.helpers.texts import corpus_of, sentences


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus_of(tmp_path_factory.mktemp("corpus"), sentences(300))


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus) -> Tokenizer:
    return train_tokenizer(corpus, TokenizerConfig(vocab_size=400))


@pytest.fixture(scope="module")
def small_files(corpus: Corpus, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    return tokenize(corpus, tokenizer, tmp_path_factory.mktemp("small") / "tokens", tokens_per_file=701)


def stream(corpus: Corpus, tokenizer: Tokenizer, split: str) -> list[int]:
    return [i for text in corpus.documents(split) for i in (tokenizer.bos_id, *tokenizer.encode(text))]


def inodes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in directory.iterdir()}


def test_the_stream_is_bos_and_text_of_every_document(
    corpus: Corpus, tokenizer: Tokenizer, small_files: TokenSet
) -> None:
    for split in ("train", "validation"):
        expected = stream(corpus, tokenizer, split)
        held = small_files.index.splits[split]
        assert small_files.read(split, 0, len(expected)).tolist() == expected
        assert small_files.tokens(split) == held.tokens == len(expected)
        assert held.documents == expected.count(tokenizer.bos_id)
        assert held.text_bytes == sum(len(text.encode()) for text in corpus.documents(split))
        assert held.complete
    assert len(small_files.index.splits["train"].files) > 5
    names = {file.name for held in small_files.index.splits.values() for file in held.files}
    assert {path.name for path in small_files.directory.iterdir()} == names | {INDEX_NAME}


@given(data=st.data())
def test_any_range_reads_across_files(small_files: TokenSet, data: st.DataObject) -> None:
    total = small_files.tokens("train")
    start = data.draw(st.integers(0, total))
    count = data.draw(st.integers(0, total - start))
    everything = small_files.read("train", 0, total)
    assert np.array_equal(small_files.read("train", start, count), everything[start : start + count])


def test_reading_past_the_end_is_an_error(small_files: TokenSet) -> None:
    with pytest.raises(IndexError):
        small_files.read("train", small_files.tokens("train") - 1, 2)


def test_stops_after_the_document_that_reaches_the_maximum(
    corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    found = tokenize(corpus, tokenizer, tmp_path / "t", max_train_tokens=1000, max_validation_tokens=100)
    held = found.index.splits["train"]
    assert 1000 <= held.tokens < 1100
    assert not held.complete
    assert found.read("train", 0, held.tokens).tolist() == stream(corpus, tokenizer, "train")[: held.tokens]
    assert 100 <= found.tokens("validation") < 200


def test_a_set_is_used_again_exactly_when_it_answers_the_request(
    corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    directory = tmp_path / "t"
    tokenize(corpus, tokenizer, directory, max_train_tokens=1000, max_validation_tokens=100)
    first = inodes(directory)
    tokenize(corpus, tokenizer, directory, max_train_tokens=900, max_validation_tokens=100)
    assert inodes(directory) == first
    more = tokenize(corpus, tokenizer, directory, max_train_tokens=3000, max_validation_tokens=100)
    assert more.tokens("train") >= 3000
    whole = tokenize(corpus, tokenizer, directory)
    second = inodes(directory)
    assert tokenize(corpus, tokenizer, directory, max_train_tokens=10**9).tokens("train") == whole.tokens("train")
    assert inodes(directory) == second
    other = train_tokenizer(corpus, TokenizerConfig(vocab_size=300))
    assert tokenize(corpus, other, directory).index.vocab_size == 300


def test_progress_ends_at_the_number_of_tokens(corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    found = tokenize(corpus, tokenizer, tmp_path / "t", lambda *report: seen.append(report))
    total = found.tokens("train") + found.tokens("validation")
    assert seen[-1] == (total, total, "tokens")


@pytest.mark.parametrize("damage", ["truncate", "remove", "index", "counts", "format"])
def test_a_damaged_set_says_so_and_is_made_anew(
    corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path, damage: str
) -> None:
    directory = tmp_path / "t"
    tokenize(corpus, tokenizer, directory)
    file, index = directory / "train_00000.bin", directory / INDEX_NAME
    table = msgspec.json.decode(index.read_bytes())
    if damage == "truncate":
        os.truncate(file, 10)
    elif damage == "remove":
        file.unlink()
    elif damage == "index":
        index.write_bytes(index.read_bytes()[:50])
    else:
        table["format"] += damage == "format"
        table["splits"]["train"]["tokens"] += damage == "counts"
        index.write_bytes(msgspec.json.encode(table))
    with pytest.raises(NanosoloError, match="Run the tokenize stage again") as caught:
        open_tokens(directory)
    assert str(directory) in str(caught.value)
    assert tokenize(corpus, tokenizer, directory).tokens("train") > 0


def test_a_killed_run_leaves_the_old_set_and_the_next_one_completes(
    corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    directory = tmp_path / "t"
    tokenize(corpus, tokenizer, directory, max_train_tokens=500, max_validation_tokens=100)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    tokenizer.save(tmp_path)
    corpus_of(tmp_path / "c", sentences(300))
    program = f"""
import time
from pathlib import Path
from engine.data.corpora.local import LocalCorpus
from engine.data.tokenizer import Tokenizer
from engine.data.tokens import tokenize
def stall(done, total, unit):
    print("working", flush=True)
    time.sleep(60)
corpus = LocalCorpus([{str(tmp_path / "c" / "texts.jsonl")!r}], "text", 0.1)
tokenize(corpus, Tokenizer.load(Path({str(tmp_path)!r})), Path({str(directory)!r}), stall)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "working\n"
        child.send_signal(signal.SIGKILL)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    open_tokens(directory)
    tokenize(corpus, tokenizer, directory)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("t.")) == ["t.lock"]


def test_a_second_writer_waits_and_says_so(corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path) -> None:
    directory = tmp_path / "t"
    seen: list[str] = []
    first = FileLock(tmp_path / "t.lock")
    first.acquire()

    def watch(done: int, total: int, unit: str) -> None:
        seen.append(unit)
        if "waiting" in unit:
            first.release()

    tokenize(corpus, tokenizer, directory, watch)
    assert seen[0] == "tokens (waiting for another run that writes the same)"
    assert seen[-1] == "tokens"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_names_the_file_and_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "train_00000.bin.tmp").symlink_to("/dev/full")
    with (
        pytest.raises(NanosoloError, match=r"the disk is full: .*train_00000\.bin needs at least 4,000,000 bytes"),
        TokenWriter(tmp_path, "train", 10_000_000, 2_000_000) as writer,
    ):
        writer.write(np.zeros(2_000_000, np.uint16))
        writer.finish()


def test_a_place_that_cannot_be_written_is_one_clear_line(corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NanosoloError, match=r"cannot write .*NANOSOLO_HOME"):
        tokenize(corpus, tokenizer, tmp_path / "file" / "t")


def test_a_corpus_that_fails_half_way_leaves_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "c", ["only one document"], 0.0001)
    with pytest.raises(NanosoloError, match="validation split is empty"):
        tokenize(corpus, tokenizer, tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["c"]
