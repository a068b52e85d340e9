"""Files made to do harm are named and skipped or refused: they run no code, reach no other file, end no process."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.core.errors import NanosoloError
from engine.data.corpora.readers import read_documents
from engine.data.skip_counter import SkipCounter
from engine.data.tokenizer import FILE_NAME, Tokenizer
from engine.data.tokens import INDEX_NAME, open_tokens

TOKENS = [*(bytes([i]) for i in range(256)), b"th", b"the"]


@pytest.mark.parametrize("line", [b"[" * 200_000, b'{"text":' * 100_000, b'{"text":"\\ud800"}', b"\xff" * 100, b"nan"])
def test_a_hostile_line_costs_only_itself(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text":"before"}\n' + line + b'\n{"text":"after"}\n')
    tally = SkipCounter()
    assert list(read_documents(path, "text", tally)) == ["before", "after"]
    assert sum(skipped.count for skipped in tally.skipped()) == 1


@pytest.mark.parametrize("pattern", ["", "(a+)+b", "(", "a{1,100000}{1,100000}"])
def test_a_tokenizer_with_another_pattern_is_refused(tmp_path: Path, pattern: str) -> None:
    Tokenizer(TOKENS).save(tmp_path)
    stored = json.loads((tmp_path / FILE_NAME).read_text()) | {"pattern": pattern}
    (tmp_path / FILE_NAME).write_text(json.dumps(stored))
    with pytest.raises(NanosoloError, match="a pattern that this version does not know"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/passwd", "train_00000.bin\x00", "x" * 5000, "..", ""])
def test_an_index_names_only_files_of_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.bin").write_bytes(np.zeros(8, "<u2").tobytes())
    folder = tmp_path / "tokens"
    folder.mkdir()
    file: dict[str, Any] = {"name": name, "tokens": 8, "hash": ""}
    split = {"files": [file], "tokens": 8, "documents": 1, "text_bytes": 8, "complete": True, "skipped": []}
    index = {"format": 2, "tokenizer": "t", "corpus": "c", "description": "", "vocab_size": 300}
    for version in range(5):  # whichever is the current one
        content = index | {"format": version, "splits": {"train": split, "validation": split}}
        (folder / INDEX_NAME).write_bytes(msgspec.json.encode(content))
        with pytest.raises(NanosoloError, match=r"reads|it names"):
            open_tokens(folder)
    assert [path.name for path in folder.iterdir()] == [INDEX_NAME]


def test_a_parquet_whose_names_are_no_text_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one"], "column_of_bytes": [1]}), path)
    path.write_bytes(path.read_bytes().replace(b"column_of_bytes", b"column_of_\xf4ytes"))
    tally = SkipCounter()
    assert list(read_documents(path, "text", tally)) in ([], ["one"])
