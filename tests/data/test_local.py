"""Reading the user's own files, good and bad."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import NanosoloError, UsageError
from engine.data.corpora import readers
from engine.data.corpora.local import LocalCorpus, find_files
from engine.data.skip_counter import SkipCounter


def everything(corpus: LocalCorpus) -> list[str]:
    return sorted([*corpus.documents("train"), *corpus.documents("validation")])


def counts(corpus: LocalCorpus) -> dict[str, int]:
    return {left_out.reason: left_out.count for left_out in corpus.skipped()}


def many(prefix: str) -> list[str]:
    return [f"{prefix} {i}" for i in range(60)]


def test_all_kinds_of_files_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in many("line")))
    pq.write_table(pa.table({"text": many("row")}), tmp_path / "b.parquet", row_group_size=7)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    (tmp_path / "d.md").write_text("# Title")
    (tmp_path / "ignored.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden.txt").write_text("no")
    corpus = LocalCorpus([str(tmp_path)], "text", 0.3)
    assert everything(corpus) == sorted([*many("line"), *many("row"), "one\ntwo\n", "# Title"])
    assert corpus.skipped() == ()


def test_bad_rows_are_counted_and_named(tmp_path: Path) -> None:
    lines = [json.dumps({"text": t}).encode() for t in many("good")]
    lines += [b'{"text": null}', b'{"text": 7}', b'{"body": "x"}', b"[1]", b"{broken", b'{"text": "  \\n"}']
    lines += [b'{"text": "\xff\xfe"}', b'{"text": "\\ud800"}', b"", b'{"text": ""}']
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    corpus = LocalCorpus([str(path)], "text", 0.3)
    assert everything(corpus) == sorted(many("good"))
    found = counts(corpus)
    assert found["rows with null text"] == 1
    assert found["rows whose text is not a string"] == 1
    assert found['rows without "text" (data.text_column)'] == 2
    assert found["empty documents"] == 2
    assert found["lines that are not JSON"] + found.get("documents that are not UTF-8", 0) == 3
    assert next(s for s in corpus.skipped() if s.reason == "rows with null text").first == f"{path.resolve()}:61"


def test_bad_parquet_rows_and_files(tmp_path: Path) -> None:
    bad = pa.array([t.encode() for t in many("bytes")] + [b"\xff\xff", None, b" "], pa.binary())
    pq.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": pa.array(many("dict")).dictionary_encode()}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "c.parquet")
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "d.parquet")
    (tmp_path / "e.parquet").write_bytes(b"PAR1 not really")
    corpus = LocalCorpus([str(tmp_path)], "text", 0.3)
    assert everything(corpus) == sorted([*many("bytes"), *many("dict")])
    assert counts(corpus) == {
        "documents that are not UTF-8": 1,
        "rows with null text": 1,
        "empty documents": 1,
        'files whose column "text" is not text': 1,
        'files without column "text" (data.text_column)': 1,
        "damaged parquet files": 1,
    }


def test_damage_in_the_middle_of_a_parquet_file_costs_only_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{i} " + "word " * 200 for i in range(2000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=100, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300_000] = b"\xff" * 300_000
    path.write_bytes(content)
    corpus = LocalCorpus([str(path)], "text", 0.3)
    found = everything(corpus)
    assert 500 < len(found) < 2000
    assert set(found) <= set(texts)
    assert sum(counts(corpus).values()) >= 1


def test_oversized_rows_are_skipped_without_holding_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_DOCUMENT_BYTES", 100)
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x" * 5000}) + "\n" + json.dumps({"text": "kept"}) + "\n")
    tally = SkipCounter()
    assert list(readers.read_documents(path, "text", tally)) == ["kept"]
    assert [s.count for s in tally.skipped()] == [1]


def test_a_book_is_cut_at_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    text = "".join(f"Paragraph {i} of a long book.\n\n" for i in range(2000))
    path.write_text(text)
    pieces = list(readers.read_text(path, SkipCounter()))
    assert "".join(pieces) == text
    assert len(pieces) > 10
    assert all(piece.endswith("\n\n") and len(piece) >= readers.PIECE_BYTES for piece in pieces[:-1])


def test_separator_lines_end_documents(tmp_path: Path) -> None:
    path = tmp_path / "stories.txt"
    path.write_text("One.\n<|endoftext|>\n\n<|endoftext|>\nTwo.\nMore.\n<|endoftext|>")
    tally = SkipCounter()
    assert list(readers.read_text(path, tally)) == ["One.\n", "Two.\nMore.\n"]
    assert [(s.reason, s.count) for s in tally.skipped()] == [("empty documents", 1)]


@given(text=st.text(alphabet="aé€😀 \n", max_size=200), limit=st.integers(8, 40))
def test_cutting_never_breaks_a_character(tmp_path_factory: pytest.TempPathFactory, text: str, limit: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "MAX_PIECE_BYTES", limit)
        patch.setattr(readers, "PIECE_BYTES", limit)
        pieces = list(readers._pieces(path))
    assert b"".join(pieces) == text.encode()
    for piece in pieces:
        piece.decode("utf-8")


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ([], "data.paths = []"),
        (["nothing/here"], "nothing/here does not exist"),
        (["nothing/*.txt"], "contains no .txt"),
        (["a.pdf"], "a.pdf is not one of"),
    ],
)
def test_paths_that_name_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(UsageError, match=r"data\.paths") as caught:
        LocalCorpus(paths, "text", 0.1)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_globs_and_double_mentions(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / name).write_text(name)
    found = find_files([str(tmp_path / "*.txt"), str(tmp_path / "a.txt"), str(tmp_path / "**/c.*")])
    assert [path.name for path in found] == ["a.txt", "b.txt", "c.md"]


def test_a_corpus_of_nothing_usable_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n' * 3)
    corpus = LocalCorpus([str(tmp_path)], "text", 0.1)
    with pytest.raises(UsageError, match='3 rows without "text"'):
        corpus.prepare()
    with pytest.raises(UsageError, match="no usable text"):
        list(corpus.documents("train"))


def test_an_empty_split_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("only one")
    corpus = LocalCorpus([str(tmp_path)], "text", 0.001)
    corpus.prepare()
    with pytest.raises(UsageError, match=r"validation split is empty.*data.validation_fraction"):
        list(corpus.documents("validation"))


def test_a_file_that_vanishes_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    corpus = LocalCorpus([str(tmp_path)], "text", 0.1)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(NanosoloError, match=r"cannot read .*a\.txt"):
        corpus.prepare()


def test_identity_follows_files_and_settings(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    one = LocalCorpus([str(tmp_path)], "text", 0.1).identity()
    assert one == LocalCorpus([str(tmp_path / "a.txt")], "text", 0.1).identity()
    assert one != LocalCorpus([str(tmp_path)], "body", 0.1).identity()
    assert one != LocalCorpus([str(tmp_path)], "text", 0.2).identity()
    (tmp_path / "a.txt").write_text("other")
    assert one != LocalCorpus([str(tmp_path)], "text", 0.1).identity()


def test_documents_stay_in_their_split_when_others_come(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in many("old")))
    before = set(LocalCorpus([str(tmp_path)], "text", 0.3).documents("validation"))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in many("new")))
    after = set(LocalCorpus([str(tmp_path)], "text", 0.3).documents("validation"))
    assert before == {text for text in after if text.startswith("old")}
