"""Datasets of conversations from the hub: fetched once, checked, read without a network ever after."""

import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.core.errors import NanosoloError
from engine.data.chat.conversation import text_of
from engine.data.chat.formats import from_messages
from engine.data.chat.sources import Dataset, HubConversations, HubDataset
from engine.data.corpora.corpus import SPLITS
from engine.data.hub import chat_datasets
from engine.data.skip_counter import SkipCounter
from tests.helpers.hub_server import HubServer

REPO = "someone/talks"


class DatasetServer(HubServer):
    """Also lists the files of its dataset."""

    def _file(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith(f"/api/datasets/{self.repo}/tree/main"):
            self.requests.append(("LIST", "", None))
            found = [{"type": "file", "path": name, "size": len(c), "oid": "0" * 40} for name, c in self.files.items()]
            self._answer(handler, 200, json.dumps(found).encode(), {"Content-Type": "application/json"})
        else:
            super()._file(handler)


def parquet(texts: list[str]) -> bytes:
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]} for text in texts
    ]
    rows.append({"messages": [{"role": "user", "content": "unanswered"}]})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


@pytest.fixture
def server() -> Iterator[DatasetServer]:
    files = {f"train-0000{i}-of-00002.parquet": parquet([f"{i}a", f"{i}b"]) for i in range(2)}
    made = DatasetServer(REPO, {**files, "test-00000-of-00001.parquet": parquet(["t"]), "README.md": b"about"})
    yield made
    made.close()


def source(server: DatasetServer, home: Path) -> HubDataset:
    patterns: Any = {"train": "train-*.parquet", "validation": "test-*.parquet"}
    return HubDataset(Dataset(REPO, patterns, from_messages), home, server.endpoint)


def test_it_is_fetched_once_and_read_in_order(server: DatasetServer, tmp_path: Path) -> None:
    talks = source(server, tmp_path)
    talks.prepare()
    fetched = sorted(server.transfers())
    assert fetched == ["test-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    asked = len(server.requests)
    tally = SkipCounter()
    found = {split: [text_of(c[-1]) for c in talks.conversations(split, tally)] for split in SPLITS}
    assert found == {"train": ["0a", "0b", "1a", "1b"], "validation": ["t"]}
    assert [(s.reason, s.count) for s in tally.skipped()] == [("conversations: the assistant says nothing", 3)]
    source(server, tmp_path).prepare()
    assert len(server.requests) == asked


def test_a_file_that_is_gone_is_fetched_again(server: DatasetServer, tmp_path: Path) -> None:
    talks = source(server, tmp_path)
    talks.prepare()
    (tmp_path / "hub" / REPO / "train-00001-of-00002.parquet").unlink()
    assert chat_datasets.local_files(tmp_path / "hub" / REPO, "train-*.parquet") is None
    talks.prepare()
    assert len(list(talks.conversations("train", SkipCounter()))) == 4
    assert server.transfers().count("train-00000-of-00002.parquet") == 1


def test_a_dataset_without_such_files_says_so(server: DatasetServer, tmp_path: Path) -> None:
    with pytest.raises(NanosoloError, match=r"someone/talks has no files other-\*\.parquet"):
        chat_datasets.fetch(REPO, "other-*.parquet", tmp_path, endpoint=server.endpoint)


def test_a_dataset_without_tests_holds_back_some(tmp_path: Path) -> None:
    texts = [f"answer {number}" for number in range(200)]
    server = DatasetServer(REPO, {"train-00000.parquet": parquet(texts)})
    talks = HubConversations(REPO, tmp_path, 0.2, server.endpoint)
    talks.prepare()
    asked = len(server.requests)
    found = {split: [text_of(c[-1]) for c in talks.conversations(split, SkipCounter())] for split in SPLITS}
    assert sorted(found["train"] + found["validation"]) == sorted(texts)
    assert 10 < len(found["validation"]) < 90
    assert found == {split: [text_of(c[-1]) for c in talks.conversations(split, SkipCounter())] for split in SPLITS}
    assert len(server.requests) == asked  # the hub's listing is kept
    server.close()


def test_a_folder_filled_by_hand_needs_no_hub(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / REPO
    folder.mkdir(parents=True)
    (folder / "train.parquet").write_bytes(parquet([f"answer {number}" for number in range(50)]))
    nowhere = "http://127.0.0.1:9"
    talks = HubConversations(REPO, tmp_path, 0.5, nowhere)
    talks.prepare()
    assert all(len(list(talks.conversations(split, SkipCounter()))) > 5 for split in SPLITS)
    (folder / "test.parquet").write_bytes(parquet(["t"]))
    assert [text_of(c[-1]) for c in talks.conversations("validation", SkipCounter())] == ["t"]


def test_an_interrupted_fetch_is_not_taken_for_all(server: DatasetServer, tmp_path: Path) -> None:
    server.status["train-00001-of-00002.parquet"] = 404
    with pytest.raises(NanosoloError):
        source(server, tmp_path).prepare()
    del server.status["train-00001-of-00002.parquet"]
    talks = source(server, tmp_path)
    talks.prepare()
    assert len(list(talks.conversations("train", SkipCounter()))) == 4
