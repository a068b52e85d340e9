"""Find presets by name: those that ship with nanosolo, then the user's own."""

import difflib
from pathlib import Path
from typing import Any, NamedTuple

import presets
from engine.config.layers import from_toml, read_toml
from engine.core import formatting
from engine.core.errors import UsageError
from engine.core.units import GIB
from engine.hardware.gpu_catalog import Gpu

ORDER = (
    "quickstart",
    "smoke",
    "conservative",
    "balanced",
    "aggressive",
    "maximum",
    "full-40gb",
    "full-80gb",
    "largest-80gb",
    "reference",
)


SHIPPED = Path(presets.__path__[0])  # importlib.resources is slow to import

SMALLEST_GIB = 7  # `conservative` needs 5.3 GiB, and a desktop takes its share of a small card


class Choice(NamedTuple):
    """A preset and why it was chosen."""

    name: str
    why: str


def preset_for(gpu: Gpu | None) -> Choice:
    """The preset for a machine whose user named none: by the GPU found, None where there is none."""
    if gpu is None:
        return Choice("quickstart", "no NVIDIA GPU is used, so the small model for a CPU")
    capacity = formatting.size(gpu.capacity)
    if gpu.capacity < SMALLEST_GIB * GIB:
        return Choice("quickstart", f"{gpu.name} has only {capacity}, so the small model for a CPU")
    if gpu.capacity >= 70 * GIB:
        return Choice("maximum", f"{gpu.name} has {capacity}")
    if gpu.capacity >= 30 * GIB:
        return Choice("balanced", f"{gpu.name} has {capacity}")
    return Choice("conservative", f"{gpu.name} has only {capacity}")


def preset_names(own: Path | None = None) -> list[str]:
    """The names of all presets, shipped ones first in the order of their size, then those in the folder `own`."""
    shipped = set(_names_in(SHIPPED))
    ordered = [name for name in ORDER if name in shipped] + sorted(shipped - set(ORDER))
    return ordered + [name for name in _names_in(own) if name not in shipped]


def load_preset(name: str, own: Path | None = None) -> dict[str, Any]:
    """The table of a preset (not yet validated). Raises UsageError with the nearest name."""
    if name not in preset_names(own):
        near = difflib.get_close_matches(name, preset_names(own), n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(preset_names(own))}."
        raise UsageError(f"--preset {name}: no such preset. {hint}")
    if own is not None and name in _names_in(own):
        return read_toml(own / f"{name}.toml")
    return from_toml((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"), f"preset {name}")


def _names_in(folder: Path | None) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.toml")) if folder is not None and folder.is_dir() else []
