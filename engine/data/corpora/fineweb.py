"""FineWeb-Edu in nanochat's shuffled parquet shards, from the Hugging Face hub."""

from collections.abc import Iterator
from pathlib import Path

from engine.core.atomic_io import cannot_write
from engine.core.errors import NanosoloError, UsageError
from engine.core.file_lock import exclusive
from engine.core.progress import Progress, silent
from engine.data.corpora.corpus import Corpus, Split, short_hash
from engine.data.corpora.readers import UnusableFile, read_parquet
from engine.data.hub.download import BACKOFF_SECONDS, Hub
from engine.data.hub.shards import ShardStore, shared_files
from engine.data.skip_counter import SkipCounter, Skipped

REPO = "karpathy/fineweb-edu-100b-shuffle"
SHARDS = 1823
VALIDATION_SHARD = SHARDS - 1  # pinned: the validation text does not depend on the number of shards
TRAIN_SHARDS = SHARDS - 1

_COLUMN = "text"
_FORMAT = 1  # increase when the same shards give other documents


class FineWebCorpus(Corpus):
    """The first `shards` training shards, about 250M characters each, and the pinned validation shard. Each comes from
    a shared cache or from `directory`; missing ones are downloaded to `directory`.

    `endpoint` is the hub's address (default: that of huggingface_hub, which HF_ENDPOINT sets).
    """

    def __init__(
        self, directory: Path, shards: int, endpoint: str | None = None, backoff_seconds: float = BACKOFF_SECONDS
    ) -> None:
        if not 1 <= shards <= TRAIN_SHARDS:
            raise UsageError(
                f"data.source = fineweb-edu has 1 to {TRAIN_SHARDS:,} training shards, but {shards:,} are needed. "
                "Train on fewer tokens (budget), or set data.source to another corpus."
            )
        self._directory = directory
        self._shards = shards
        self._hub = Hub(REPO, endpoint, backoff_seconds)
        self._skipped = SkipCounter()
        self._replaced = SkipCounter()

    def identity(self) -> str:
        """Made from the name of the dataset and the shards: a published shard never changes, and each is verified."""
        return short_hash("fineweb-edu", _FORMAT, REPO, self._shards, VALIDATION_SHARD)

    def description(self) -> str:
        return f"FineWeb-Edu ({REPO}), {self._shards:,} of {TRAIN_SHARDS:,} training shards and one for validation"

    def documents(self, split: Split) -> Iterator[str]:
        self._skipped = SkipCounter()
        names = self._names(split)
        shared = shared_files(self._directory, names)
        for name in names:
            path = shared.get(name, self._directory / name)
            if not path.is_file():
                raise NanosoloError(f"{path} is missing. Run the data stage, which downloads it.")
            try:
                yield from read_parquet(path, _COLUMN, self._skipped)
            except UnusableFile:
                raise NanosoloError(
                    f"{path} is damaged. Remove it and run the data stage, which downloads it again."
                ) from None

    def skipped(self) -> tuple[Skipped, ...]:
        return (*self._replaced.skipped(), *self._skipped.skipped())

    def prepare(self, progress: Progress = silent) -> None:
        """Download missing or damaged shards, several at once. Needs no network if all shards are present.

        Shards of shared caches are used in place; nothing is written there.
        """
        # validation first: a run that stops early and starts again with fewer shards can still be evaluated
        names = [*self._names("validation"), *self._names("train")]
        shared = shared_files(self._directory, names)
        wanted = [name for name in names if name not in shared]
        if not wanted:
            return
        try:
            with exclusive(self._directory / ".lock", progress, "bytes"):
                self._hub.download(wanted, ShardStore(self._directory, self._replaced), progress)
        except OSError as error:
            raise cannot_write(self._directory, error, 0) from None

    def _names(self, split: Split) -> list[str]:
        numbers = [VALIDATION_SHARD] if split == "validation" else range(self._shards)
        return [f"shard_{number:05d}.parquet" for number in numbers]
