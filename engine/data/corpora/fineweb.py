"""FineWeb-Edu in nanochat's shuffled parquet shards, from the Hugging Face hub."""

import queue
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from engine.core.atomic_io import cannot_write
from engine.core.errors import NanosoloError, UsageError
from engine.core.file_lock import exclusive
from engine.core.progress import Progress, silent
from engine.data.corpora.corpus import Corpus, Split, short_hash
from engine.data.corpora.readers import UnusableFile, read_parquet
from engine.data.hub.shards import Hub, ShardFacts, ShardStore, patiently, shared_files
from engine.data.skip_counter import SkipCounter, Skipped

REPO = "karpathy/fineweb-edu-100b-shuffle"
SHARDS = 1823
VALIDATION_SHARD = SHARDS - 1  # pinned: the same text validates whatever was downloaded
TRAIN_SHARDS = SHARDS - 1

_COLUMN = "text"
_FORMAT = 1  # raise when the same shards come out as other documents
_AT_ONCE = 4  # downloads
_SECONDS_BETWEEN_REPORTS = 0.5
_BACKOFF_SECONDS = 1.0  # doubled after each failed attempt


class FineWebCorpus(Corpus):
    """The first `shards` training shards, about 250M characters each, and the pinned validation shard: each from a
    shared cache, or from `directory`, where it is downloaded when it is missing.

    `endpoint` is the hub's address (default: that of huggingface_hub, which HF_ENDPOINT sets).
    """

    def __init__(
        self, directory: Path, shards: int, endpoint: str | None = None, backoff_seconds: float = _BACKOFF_SECONDS
    ) -> None:
        if not 1 <= shards <= TRAIN_SHARDS:
            raise UsageError(
                f"data.source = fineweb-edu has 1 to {TRAIN_SHARDS:,} training shards, {shards:,} were asked for. "
                "Train on fewer tokens (budget), or set data.source to another corpus."
            )
        self._directory = directory
        self._shards = shards
        self._endpoint = endpoint
        self._backoff = backoff_seconds
        self._tally = SkipCounter()
        self._mended = SkipCounter()

    def identity(self) -> str:
        """Of the dataset's name and the shards: a published shard never changes, and each is checked on arrival."""
        return short_hash("fineweb-edu", _FORMAT, REPO, self._shards, VALIDATION_SHARD)

    def description(self) -> str:
        return f"FineWeb-Edu ({REPO}), {self._shards:,} of {TRAIN_SHARDS:,} training shards and one for validation"

    def documents(self, split: Split) -> Iterator[str]:
        self._tally = SkipCounter()
        names = self._names(split)
        shared = shared_files(self._directory, names)
        for name in names:
            path = shared.get(name, self._directory / name)
            if not path.is_file():
                raise NanosoloError(f"{path} is missing. Run the data stage, which downloads it.")
            try:
                yield from read_parquet(path, _COLUMN, self._tally)
            except UnusableFile:
                raise NanosoloError(
                    f"{path} is damaged. Remove it and run the data stage, which downloads it again."
                ) from None

    def skipped(self) -> tuple[Skipped, ...]:
        return (*self._mended.skipped(), *self._tally.skipped())

    def prepare(self, progress: Progress = silent) -> None:
        """Download what is missing or damaged, several shards at once. Needs no network when all are here.

        Shards of shared caches are used where they are; nothing is written there.
        """
        # validation first: a run that is stopped early and started again with fewer shards can still be evaluated
        names = [*self._names("validation"), *self._names("train")]
        shared = shared_files(self._directory, names)
        wanted = [name for name in names if name not in shared]
        if not wanted:
            return
        try:
            with exclusive(self._directory / ".lock", progress, "bytes"):
                self._fetch_missing(wanted, progress)
        except OSError as error:
            raise cannot_write(self._directory, error, 0) from None

    def _names(self, split: Split) -> list[str]:
        numbers = [VALIDATION_SHARD] if split == "validation" else range(self._shards)
        return [f"shard_{number:05d}.parquet" for number in numbers]

    def _fetch_missing(self, wanted: list[str], progress: Progress) -> None:
        store = ShardStore(self._directory, self._mended)
        missing = [name for name in wanted if not store.is_whole(name)]
        if not missing:
            return
        store.remove_leftovers()
        hub = Hub(REPO, self._endpoint)
        facts = patiently(f"the list of {REPO}", lambda: hub.facts(missing), self._backoff)
        total = sum(shard.size for shard in facts.values())
        store.require_room(facts.values())
        todo: queue.SimpleQueue[ShardFacts] = queue.SimpleQueue()
        for name in missing:
            todo.put(facts[name])
        results: queue.SimpleQueue[int | Exception] = queue.SimpleQueue()
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    shard = todo.get_nowait()
                    patiently(f"{REPO}/{shard.name}", partial(store.fetch, hub, shard), self._backoff)
                    results.put(shard.size)
                except queue.Empty:
                    return
                except Exception as error:  # for the thread that waits
                    results.put(error)

        # daemon threads: a stopped run must not wait for hundreds of megabytes to arrive
        for _ in range(min(_AT_ONCE, len(missing))):
            threading.Thread(target=work, daemon=True, name="download").start()
        done = finished = shown = 0
        try:
            while finished < len(missing):
                try:
                    result = results.get(timeout=_SECONDS_BETWEEN_REPORTS)
                except queue.Empty:
                    pass
                else:
                    if isinstance(result, Exception):
                        raise result
                    done += result
                    finished += 1
                shown = max(shown, min(total, done + store.bytes_under_way()))
                progress(shown, total, "bytes")
        finally:
            stop.set()
