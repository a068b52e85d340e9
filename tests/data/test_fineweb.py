"""Downloading shards from a server on this machine that speaks the hub's protocol, with the faults it may have."""

import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.core.errors import NanosoloError, UsageError
from engine.data.corpora.fineweb import REPO, FineWebCorpus
from tests.helpers.hub_server import HubServer

TRAIN = [f"shard_{i:05d}.parquet" for i in range(6)]
VALIDATION = "shard_01822.parquet"


def texts_of(name: str) -> list[str]:
    return [f"{name} holds document {i}, " + "and so on " * (i % 7) for i in range(400)]


def parquet(texts: list[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), buffer, row_group_size=64, compression="zstd")
    return buffer.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = HubServer(REPO, {name: parquet(texts_of(name)) for name in [*TRAIN, VALIDATION]})
    yield server
    server.close()


def corpus(hub: HubServer, folder: Path, shards: int = 3) -> FineWebCorpus:
    return FineWebCorpus(folder, shards, endpoint=hub.endpoint, backoff_seconds=0.01)


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.parquet"))


def test_downloads_the_first_shards_and_the_pinned_validation_shard(hub: HubServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    found = corpus(hub, tmp_path)
    found.prepare(lambda *report: seen.append(report))
    assert held(tmp_path) == [*TRAIN[:3], VALIDATION]
    assert list(found.documents("train")) == [text for name in TRAIN[:3] for text in texts_of(name)]
    assert list(found.documents("validation")) == texts_of(VALIDATION)
    assert found.skipped() == ()
    total = sum(len(hub.files[name]) for name in held(tmp_path))
    assert seen[-1] == (total, total, "bytes")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_what_is_here_is_not_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    corpus(hub, tmp_path, 2).prepare()
    hub.requests.clear()
    corpus(hub, tmp_path, 4).prepare()
    assert sorted(hub.transfers()) == TRAIN[2:4]
    hub.close()
    corpus(hub, tmp_path, 3).prepare()  # needs no network


def test_an_interrupted_transfer_goes_on_where_it_stopped(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # bytes are kept by chunks of 10 MB; a smaller one spares the test so large a file
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    hub.files[TRAIN[0]] = parquet([os.urandom(30).hex() for _ in range(60_000)])
    size = len(hub.files[TRAIN[0]])
    hub.cut_after[TRAIN[0]] = size // 2
    corpus(hub, tmp_path, 1).prepare()
    asked = [wanted for method, name, wanted in hub.requests if (method, name) == ("GET", TRAIN[0])]
    assert asked[0] is None
    assert len(asked) == 2
    assert asked[1] is not None
    assert 0 < int(asked[1].removeprefix("bytes=").rstrip("-")) <= size // 2
    assert (tmp_path / TRAIN[0]).read_bytes() == hub.files[TRAIN[0]]


def test_a_transfer_that_arrives_corrupt_is_repeated(hub: HubServer, tmp_path: Path) -> None:
    hub.corrupt[TRAIN[1]] = 2
    corpus(hub, tmp_path).prepare()
    assert hub.transfers().count(TRAIN[1]) == 3
    assert (tmp_path / TRAIN[1]).read_bytes() == hub.files[TRAIN[1]]


def test_a_transfer_that_stays_corrupt_is_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.corrupt[TRAIN[1]] = 100
    with pytest.raises(NanosoloError, match=rf"{TRAIN[1]} arrived with other contents"):
        corpus(hub, tmp_path).prepare()
    assert TRAIN[1] not in held(tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_file_here_is_named_and_downloaded_again(hub: HubServer, tmp_path: Path, damage: str) -> None:
    corpus(hub, tmp_path).prepare()
    path = tmp_path / TRAIN[0]
    content = path.read_bytes()
    path.write_bytes(content[:-20] if damage == "truncate" else content[:50] + b"\0\0\0" + content[53:])
    hub.requests.clear()
    again = corpus(hub, tmp_path)
    again.prepare()
    assert hub.transfers() == [TRAIN[0]]
    assert path.read_bytes() == content
    assert [(s.reason, s.first) for s in again.skipped()] == [("damaged shards, downloaded again", str(path))]


def test_shards_that_came_by_other_means_are_checked_and_kept(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / TRAIN[0]).write_bytes(hub.files[TRAIN[0]])
    (tmp_path / TRAIN[1]).write_bytes(hub.files[TRAIN[0]])
    corpus(hub, tmp_path, 2).prepare()
    assert sorted(hub.transfers()) == [TRAIN[1], VALIDATION]


def test_a_shard_that_the_hub_lacks_is_named(hub: HubServer, tmp_path: Path) -> None:
    del hub.files[TRAIN[2]]
    with pytest.raises(NanosoloError, match=f"has no {TRAIN[2]}"):
        corpus(hub, tmp_path).prepare()
    assert hub.transfers() == []


def test_a_404_is_final_and_one_line(hub: HubServer, tmp_path: Path) -> None:
    hub.status[TRAIN[2]] = 404
    with pytest.raises(NanosoloError, match=rf"cannot download .*{TRAIN[2]}.*404") as caught:
        corpus(hub, tmp_path).prepare()
    assert "\n" not in str(caught.value)


def test_a_server_in_trouble_is_asked_again(hub: HubServer, tmp_path: Path) -> None:
    hub.failing_lists = 2
    corpus(hub, tmp_path).prepare()
    assert held(tmp_path) == [*TRAIN[:3], VALIDATION]


def test_no_network_is_one_line_that_says_what_to_do(hub: HubServer, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(NanosoloError, match=r"cannot download .*no answer from the hub.*data.source") as caught:
            FineWebCorpus(tmp_path, 1, endpoint=nobody, backoff_seconds=0.01).prepare()
    assert "\n" not in str(caught.value)


def test_the_environment_sets_the_hub(hub: HubServer, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from engine.data.corpora.registry import open_corpus
from engine.config.schema import DataConfig
corpus = open_corpus(DataConfig(source="fineweb-edu"), Path({str(tmp_path)!r}), 1)
corpus.prepare()
print(len(list(corpus.documents("train"))))
"""
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "400\n"
    assert held(tmp_path / "fineweb-edu") == [TRAIN[0], VALIDATION]


def test_a_failure_ends_the_program_though_other_transfers_are_under_way(hub: HubServer, tmp_path: Path) -> None:
    hub.held_back[TRAIN[0]] = threading.Event()
    hub.status[TRAIN[1]] = 404
    program = f"""
import sys
from pathlib import Path
from engine.data.corpora.fineweb import FineWebCorpus
from engine.core.errors import NanosoloError
try:
    FineWebCorpus(Path({str(tmp_path)!r}), 3, endpoint={hub.endpoint!r}).prepare()
except NanosoloError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    hub.held_back[TRAIN[0]].set()
    assert done.returncode == 5
    assert "404" in done.stdout


def test_a_disk_that_is_too_small_is_known_beforehand(hub: HubServer, tmp_path: Path) -> None:
    hub.claimed_size[TRAIN[0]] = 10**18
    with pytest.raises(NanosoloError, match=r"not enough disk space: .* needs 1,000,000,000,0[0-9,]+ bytes"):
        corpus(hub, tmp_path).prepare()
    assert hub.transfers() == []


def test_leftovers_of_a_killed_download_are_removed(hub: HubServer, tmp_path: Path) -> None:
    leftover = tmp_path / ".cache/huggingface/download/abc.12345678.incomplete"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half a shard")
    corpus(hub, tmp_path, 1).prepare()
    assert not leftover.exists()


def test_reading_before_downloading_says_so(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(NanosoloError, match=r"is missing. Run the data stage"):
        next(corpus(hub, tmp_path).documents("train"))


def test_damage_found_while_reading_is_an_error(hub: HubServer, tmp_path: Path) -> None:
    found = corpus(hub, tmp_path, 1)
    found.prepare()
    (tmp_path / TRAIN[0]).write_bytes(b"PAR1 no longer PAR1")
    with pytest.raises(NanosoloError, match=rf"{TRAIN[0]} is damaged. Remove it"):
        list(found.documents("train"))


@pytest.mark.parametrize("shards", [0, 1823])
def test_more_shards_than_there_are(tmp_path: Path, shards: int) -> None:
    with pytest.raises(UsageError, match=f"1 to 1,822 training shards, but {shards:,} are needed"):
        FineWebCorpus(tmp_path, shards)


def test_identity_follows_the_number_of_shards(tmp_path: Path) -> None:
    assert FineWebCorpus(tmp_path, 2).identity() == FineWebCorpus(tmp_path / "else", 2).identity()
    assert FineWebCorpus(tmp_path, 2).identity() != FineWebCorpus(tmp_path, 3).identity()
