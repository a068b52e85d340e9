"""Whether what later stages will read can be there: CORE's bundle and files of conversations. Nothing is fetched."""

from collections.abc import Collection, Iterator

from engine.config.schema import RunConfig
from engine.core.diagnostic import Diagnostic, checked, refused
from engine.core.errors import UsageError
from engine.core.paths import data_home
from engine.plan.absolute_paths import is_bundle_path
from engine.plan.dataset_facts import CONVERSATIONS, is_remote


def check_sources(config: RunConfig, stages: Collection[str]) -> Iterator[Diagnostic]:
    """What is wrong with the sources of these stages, checked without a network."""
    if "evaluate" in stages and is_bundle_path(config.evaluate.core):
        from engine.data.core_bundle import check_setting  # imported here: it imports the reader of bundles

        try:
            check_setting(config.evaluate.core)
        except UsageError as error:
            yield refused("CORE", error)
    for stage, sources in (("midtrain", config.midtrain.sources), ("sft", config.sft.sources)):
        if stage in stages:
            yield from _check_conversations(f"{stage}.sources", sources, config.data.validation_fraction)


def _check_conversations(setting: str, sources: tuple[str, ...], validation_fraction: float) -> Iterator[Diagnostic]:
    local = [source for source in sources if not is_remote(source) and source.partition(":")[0] not in CONVERSATIONS]
    if not local:
        return
    from engine.data.chat.sources import open_sources

    for source in local:
        try:
            open_sources([source], data_home(), validation_fraction)
        except UsageError as error:
            yield refused("conversations", UsageError(f"{setting}: {error}"))
            return
    yield checked("conversations", "ok", f"{setting}: {len(local)} of your own files")
