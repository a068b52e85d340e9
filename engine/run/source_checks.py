"""Whether what later stages will read can be there: CORE's bundle and files of conversations. Nothing is fetched."""

from collections.abc import Collection, Iterator
from pathlib import Path

from engine.errors import UsageError
from engine.plan.config import RunConfig
from engine.plan.datasets import CONVERSATIONS, is_remote
from engine.run.checks import Check, problem_of
from engine.run.home import data_home


def check_sources(config: RunConfig, stages: Collection[str]) -> Iterator[Check]:
    """What is wrong with the sources of these stages, as far as can be told without a network."""
    if "evaluate" in stages and is_bundle_path(config.evaluate.core):
        from engine.evaluate.core.bundle import check_setting  # only here: it brings what reads bundles

        try:
            check_setting(config.evaluate.core)
        except UsageError as error:
            yield problem_of("CORE", error)
    for stage, sources in (("midtrain", config.midtrain.sources), ("sft", config.sft.sources)):
        if stage in stages:
            yield from _check_conversations(f"{stage}.sources", sources, config.data.validation_fraction)


def is_bundle_path(core: str) -> bool:
    """Whether `evaluate.core` is a path."""
    return core not in ("off", "auto", "download")


def absolute(path: str) -> str:
    """The same path from any directory; that of a user who does not exist stays."""
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        return path


def absolute_source(source: str) -> str:
    """A source of conversations with its path made absolute, where it is one; a name that means nothing stays."""
    name, colon, most = source.rpartition(":")
    path, limit = (name, colon + most) if most.isdigit() and name else (source, "")
    is_path = not is_remote(source) and ("/" in path or path.endswith((".jsonl", ".parquet")))
    return f"{absolute(path)}{limit}" if is_path else source


def _check_conversations(setting: str, sources: tuple[str, ...], validation_fraction: float) -> Iterator[Check]:
    local = [source for source in sources if not is_remote(source) and source.partition(":")[0] not in CONVERSATIONS]
    if not local:
        return
    from engine.chat.sources import open_sources

    for source in local:
        try:
            open_sources([source], data_home(), validation_fraction)
        except UsageError as error:
            yield problem_of("conversations", UsageError(f"{setting}: {error}"))
            return
    yield Check(name="conversations", verdict="ok", finding=f"{setting}: {len(local)} of your own files")
