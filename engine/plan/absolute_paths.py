"""Makes the paths of a configuration absolute, so that it means the same from any directory."""

from pathlib import Path

from engine.plan.dataset_facts import is_remote


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


def is_bundle_path(core: str) -> bool:
    """Whether `evaluate.core` is a path."""
    return core not in ("off", "auto", "download")
