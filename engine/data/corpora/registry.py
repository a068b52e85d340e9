"""Opens the corpus that a configuration names."""

from pathlib import Path

from engine.config.schema import DataConfig
from engine.data.corpora.corpus import Corpus


def open_corpus(config: DataConfig, data_home: Path, shards: int) -> Corpus:
    """The corpus that a configuration names; `shards` training shards if it has shards.

    Raises UsageError if the settings name no text. Call `prepare` before reading documents.
    """
    # imported on use: a download needs no reader of local files, and the reverse
    if config.source == "builtin":
        from engine.data.corpora.builtin_corpus import BuiltinCorpus

        return BuiltinCorpus(config.validation_fraction)
    if config.source == "local":
        from engine.data.corpora.local import LocalCorpus

        return LocalCorpus(config.paths, config.text_column, config.validation_fraction)
    from engine.data.corpora.fineweb import TRAIN_SHARDS, FineWebCorpus

    if config.on_exhausted == "epoch":  # the shards repeat, as planned
        shards = min(shards, TRAIN_SHARDS)
    return FineWebCorpus(data_home / "fineweb-edu", shards)
