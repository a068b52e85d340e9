"""Shared caches: complete data is used where it is, without a lock; the rest is ignored with a note and made again."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.core.errors import NanosoloError
from engine.core.paths import SHARED, data_home, shared_caches, shared_copies
from engine.data.chat.dataset import write_set
from engine.data.chat.sources import Builtin
from engine.data.corpora.corpus import SPLITS
from engine.data.corpora.fineweb import REPO, FineWebCorpus
from engine.data.skip_counter import SkipCounter
from engine.data.tokenizer import Tokenizer
from engine.events.kinds import Warning
from engine.run.directory import RunDirectory
from engine.run.stage_context import StageContext
from engine.stages.tokenize import tokens_of, write_tokens
from engine.stages.train_tokenizer import make_tokenizer
from tests.helpers import tiny_run
from tests.helpers.hub_server import HubServer

SHARDS = ["shard_00000.parquet", "shard_00001.parquet", "shard_01822.parquet"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch, home: Path) -> Callable[..., None]:
    def name(*caches: Path) -> None:
        monkeypatch.setenv(SHARED, os.pathsep.join(map(str, caches)))

    return name


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def new_run(base: tiny_run.Base, folder: Path) -> StageContext:
    """A run that has nothing but its configuration."""
    run = base.run(folder)
    shutil.rmtree(run.tokenizer)
    run.tokens_file.unlink()
    return StageContext(run, "tokenize")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tiny_run.Base:
    """Its home becomes the shared cache."""
    return tiny_run.Base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def cache(base: tiny_run.Base, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(base.home, tmp_path / "cache")
    return tmp_path / "cache"


def test_caches_are_searched_in_the_order_of_the_list_and_the_home_is_none(
    home: Path, share: Callable[..., None]
) -> None:
    assert shared_caches() == []
    share(Path("/b"), home, Path("/a"), Path("/b"))
    assert shared_caches() == [Path("/b"), Path("/a")]
    assert shared_copies(home / "data" / "tokens") == [Path("/b/data/tokens"), Path("/a/data/tokens")]
    assert shared_copies(Path("/elsewhere")) == []


def test_complete_tokens_and_tokenizers_are_used_where_they_are(
    base: tiny_run.Base, cache: Path, home: Path, share: Callable[..., None], tmp_path: Path
) -> None:
    share(tmp_path / "gone", cache)
    before = listing(cache)
    context = new_run(base, tmp_path / "run")
    make_tokenizer(context)
    write_tokens(context)
    assert listing(cache) == before
    assert not home.exists() or not [path for path in home.rglob("*") if path.is_file()]
    tokens = tokens_of(context)
    assert tokens.directory.is_relative_to(cache)
    assert not tiny_run.events_of(context.run, Warning)


@pytest.mark.parametrize("spoil", ["cut", "flipped", "no index"])
def test_incomplete_tokens_are_ignored_with_a_note_and_written_to_the_home(
    base: tiny_run.Base,
    cache: Path,
    home: Path,
    share: Callable[..., None],
    tmp_path: Path,
    spoil: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    share(cache)
    [tokens] = (path for path in (cache / "data" / "tokens").iterdir() if path.is_dir())
    file = tokens / "train_00000.bin"
    content = file.read_bytes()
    if spoil == "no index":
        (tokens / "index.json").unlink()
    else:
        file.write_bytes(content[:-2] if spoil == "cut" else bytes([content[0] ^ 1]) + content[1:])
    before = listing(cache)
    context = new_run(base, tmp_path / "run")
    make_tokenizer(context)
    write_tokens(context)
    assert tokens_of(context).directory == home / "data" / "tokens" / tokens.name
    assert (home / "data" / "tokens" / tokens.name / file.name).read_bytes() == content
    assert listing(cache) == before
    assert f"note: {tokens} in a shared cache is not used: " in capsys.readouterr().out


def test_a_run_goes_on_when_its_cache_has_moved_or_gone(
    base: tiny_run.Base, cache: Path, home: Path, share: Callable[..., None], tmp_path: Path
) -> None:
    share(cache)
    context = new_run(base, tmp_path / "run")
    make_tokenizer(context)
    write_tokens(context)
    moved = cache.rename(tmp_path / "moved")
    share(moved)
    assert tokens_of(context).directory.is_relative_to(moved)
    assert tokens_of(context).directory.is_relative_to(moved)  # noted: said once
    [warning] = tiny_run.events_of(context.run, Warning)
    assert (warning.code, warning.stage) == ("tokens_moved", "tokenize")
    assert str(cache) in warning.message and f"the same tokens in {moved}" in warning.message
    shutil.rmtree(moved)
    assert tokens_of(context).directory.is_relative_to(home)
    assert f"written again to {home}" in tiny_run.events_of(context.run, Warning)[-1].message


def test_tokens_that_are_gone_and_cannot_be_written_again_name_the_cache(
    base: tiny_run.Base, cache: Path, share: Callable[..., None], tmp_path: Path
) -> None:
    share(cache)
    context = new_run(base, tmp_path / "run")
    make_tokenizer(context)
    write_tokens(context)
    text = shutil.copytree(base.corpus, tmp_path / "other-text")
    config = tiny_run.tiny_config(text)
    context.config = config
    shutil.rmtree(cache)
    with pytest.raises(
        NanosoloError, match=rf"the tokens in {cache}.* are gone .*mount it, and name it in NANOSOLO_DATA"
    ):
        tokens_of(context)


def parquet(texts: list[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), buffer)
    return buffer.getvalue()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    server = HubServer(REPO, {name: parquet([f"{name} {i}" for i in range(50)]) for name in SHARDS})
    yield server
    server.close()


def test_shards_come_from_the_caches_as_far_as_they_are_whole(
    hub: HubServer, home: Path, share: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    FineWebCorpus(cache / "data" / "fineweb-edu", 2, endpoint=hub.endpoint, backoff_seconds=0.01).prepare()
    share(cache)
    before, asked = listing(cache), len(hub.requests)
    corpus = FineWebCorpus(data_home() / "fineweb-edu", 2, endpoint=hub.endpoint, backoff_seconds=0.01)
    corpus.prepare()
    assert len(hub.requests) == asked and not home.exists()
    assert list(corpus.documents("train")) == [f"{name} {i}" for name in SHARDS[:2] for i in range(50)]
    assert list(corpus.documents("validation")) == [f"{SHARDS[2]} {i}" for i in range(50)]

    os.utime(cache / "data" / "fineweb-edu" / SHARDS[0])  # copied without its times: nobody knows what is in it
    corpus.prepare()
    assert [path.name for path in (home / "data" / "fineweb-edu").glob("*.parquet")] == SHARDS[:1]
    assert listing(cache) == before
    assert list(corpus.documents("train")) == [f"{name} {i}" for name in SHARDS[:2] for i in range(50)]
    assert f"{SHARDS[0]} in a shared cache is not used: it changed after it was checked" in capsys.readouterr().out


def test_conversations_come_from_a_cache(
    base: tiny_run.Base, home: Path, share: Callable[..., None], tmp_path: Path
) -> None:
    cache, tokenizer = tmp_path / "cache", Tokenizer.load(RunDirectory(base.template.path).tokenizer)
    few = {split: list(Builtin().conversations(split, SkipCounter()))[:5] for split in SPLITS}
    write_set(cache / "data" / "conversations" / "one", "one", few, tokenizer)
    share(cache)
    before = listing(cache)
    place = home / "data" / "conversations" / "one"
    assert write_set(place, "one", {split: [] for split in SPLITS}, tokenizer).index.conversations["train"] == 5
    assert listing(cache) == before and not home.exists()
    (cache / "data" / "conversations" / "one" / "train.ends.npy").unlink()
    assert write_set(place, "one", few, tokenizer).directory == place
