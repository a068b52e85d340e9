"""Measurements on disk: every run leaves what it reached under $NANOSOLO_HOME/calibration, later plans here read it."""

import re
from pathlib import Path

import msgspec

from engine.core.atomic_io import NOT_JSON, write_atomically
from engine.core.errors import NanosoloError
from engine.core.paths import home
from engine.hardware.gpu_catalog import Gpu
from engine.plan.calibration import Calibration, Measured, key_of

LARGEST_FILE = 100_000  # bytes; ours have a few hundred
NEWEST = 200  # measurements looked at


def calibration_home() -> Path:
    """The folder of all measurements."""
    return home() / "calibration"


def read_calibration(gpu: Gpu, torch_version: str | None = None) -> Calibration:
    """What was measured on this device with the torch installed here. Damaged files are passed over."""
    if not (calibration_home() / _slug(key_of(gpu))).is_dir():
        return Calibration()  # before torch's version is looked up, which takes a tenth of a plan
    folder = _folder(gpu, torch_version or installed_torch())
    found = []
    for path in sorted(folder.glob("*.json"))[-NEWEST:]:
        try:
            if path.stat().st_size <= LARGEST_FILE:
                found.append(msgspec.json.decode(path.read_bytes(), type=Measured))
        except (OSError, *NOT_JSON):
            continue
    return Calibration(measured=tuple(found))


def record(gpu: Gpu, measured: Measured) -> Path:
    """Keep a measurement; one of the same source replaces the older. Raises NanosoloError when it cannot be written."""
    folder = _folder(gpu, measured.torch)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise NanosoloError(f"cannot write to {folder}: {error.strerror}. Free it, or set NANOSOLO_HOME.") from None
    path = folder / f"{_slug(measured.source)}.json"
    write_atomically(path, msgspec.json.encode(measured))
    return path


def installed_torch() -> str:
    """The version of torch, without importing it; empty where there is none."""
    from importlib import metadata  # slow to import, and most plans need none of it

    try:
        return public(metadata.version("torch"))
    except metadata.PackageNotFoundError:
        return ""


def public(version: str) -> str:
    return version.partition("+")[0]


def _folder(gpu: Gpu, torch_version: str) -> Path:
    return calibration_home() / _slug(key_of(gpu)) / _slug(f"torch {torch_version}")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"
