"""Probes this machine: GPU and driver, torch's build, memory, disk and clock, without importing torch."""

import os
import re
import shutil
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from engine.core.errors import NanosoloError
from engine.core.paths import data_home, home, home_owner, runs_home, shared_caches, shared_copies
from engine.hardware.detect import (
    detect_gpu,
    gpu_handle,
    gpu_memory,
    is_uncut,
    memory_available,
    memory_limit,
    nvml,
    usable_cores,
)
from engine.hardware.gpu_access import GpuAccess, gpu_access
from engine.hardware.gpu_catalog import Gpu
from engine.hardware.gpu_fault_watch import row_remapping, uncorrected_errors
from engine.hardware.telemetry import throttle_words
from engine.hardware.toolchain import Toolchain, find_toolchain

SHARED_MEMORY = Path("/dev/shm")


class GpuProbe(NamedTuple):
    """What NVML reports about the GPU. Bytes; None where it does not report a value."""

    gpu: Gpu
    total: int
    free: int
    held: int  # by processes; with what the driver keeps for itself where `reserved` is None
    reserved: int | None
    processes: int | None
    driver: str
    cuda: tuple[int, int]  # the newest CUDA that the driver runs
    compute_mode: int | None  # 0 default, 2 prohibited, 3 one process only
    uncorrected_errors: int | None
    row_remapping: tuple[bool, bool] | None  # pending, failed
    throttle: tuple[str, ...]
    uncut: bool = False  # MIG is on, and no slice is made: nothing can run

    @property
    def is_slice(self) -> bool:
        """Whether this is a MIG slice of a GPU."""
        return self.gpu.is_slice


class TorchBuild(NamedTuple):
    """What is installed as torch."""

    version: str
    cuda: tuple[int, int] | None  # None: a build for CPUs


class Cache(NamedTuple):
    """A shared cache."""

    path: Path
    fault: str  # why nothing can be read there; empty where it can
    shards: int  # bytes
    token_sets: int
    tokenizers: int


class MachineProbe(NamedTuple):
    """This machine. Bytes and Unix seconds."""

    gpu: GpuProbe | None
    access: GpuAccess | None  # why there is no GPU; None where there is one
    torch: TorchBuild | None
    cores: int
    memory_total: int
    memory_limit: int  # the container's, or all of it
    memory_available: int
    shared_memory: int | None
    home: Path
    home_fault: str  # why nothing can be written there; empty where it can
    disk_free: int
    shards: int  # of downloaded text
    tokens: int  # of the largest set of token files
    now: float
    newest_run: float | None  # when the newest run was made
    tools: Toolchain  # what torch.compile builds with
    root: bool = False  # whether this is root, who can write anywhere
    home_owner: str | None = None  # whose home this is, where it is another user's
    caches: tuple[Cache, ...] = ()  # that are shared (NANOSOLO_DATA)


def probe_machine() -> MachineProbe:
    """Probe this machine. Takes some milliseconds; writes and removes one small file in the home."""
    folder, fault, owner = home(), "", None
    try:
        owner = home_owner()
    except NanosoloError as error:
        fault = str(error)
    gpu = probe_gpu()
    return MachineProbe(
        gpu=gpu,
        access=gpu_access() if gpu is None else None,
        torch=torch_build(),
        cores=usable_cores(),
        memory_total=int(psutil.virtual_memory().total),
        memory_limit=memory_limit(),
        memory_available=memory_available(),
        shared_memory=shutil.disk_usage(SHARED_MEMORY).total if SHARED_MEMORY.is_dir() else None,
        home=folder,
        home_fault=fault,
        disk_free=0 if fault else shutil.disk_usage(folder).free,
        shards=_shard_bytes(),
        tokens=max((sum(_sizes(path, "*.bin")) for path in _token_folders()), default=0),
        now=time.time(),
        newest_run=max(_times(runs_home(), "*/run.toml"), default=None),
        tools=find_toolchain(),
        root=os.geteuid() == 0,
        home_owner=owner,
        caches=tuple(_look_into(cache) for cache in shared_caches()),
    )


def _shard_bytes() -> int:
    """Bytes of the shards in the home or in a shared cache, each counted once."""
    place = data_home() / "fineweb-edu"
    return sum(dict(shard for folder in (place, *shared_copies(place)) for shard in _shards(folder)).values())


def _token_folders() -> list[Path]:
    place = data_home() / "tokens"
    return [path for folder in (place, *shared_copies(place)) for path in _folders(folder)]


def _look_into(cache: Path) -> Cache:
    try:
        there = {path.name for path in cache.iterdir()}
    except OSError as error:
        return Cache(cache, error.strerror or str(error), 0, 0, 0)
    fault = "" if there & {"data", "tokenizers"} else "it contains neither data/ nor tokenizers/"
    sets = [path for path in _folders(cache / "data" / "tokens") if (path / "index.json").is_file()]
    shards = sum(size for _, size in _shards(cache / "data" / "fineweb-edu"))
    return Cache(cache, fault, shards, len(sets), len(_folders(cache / "tokenizers")))


def probe_gpu() -> GpuProbe | None:
    """What NVML reports about the GPU that torch would use; None where there is none."""
    gpu, lib = detect_gpu(), nvml()
    if gpu is None or lib is None:
        return None
    handle = gpu_handle(lib)
    try:
        memory = gpu_memory(lib, handle)
        driver, cuda = str(lib.nvmlSystemGetDriverVersion()), int(lib.nvmlSystemGetCudaDriverVersion())
    except lib.NVMLError:
        return None

    def ask(function: str) -> Any | None:
        try:
            return getattr(lib, function)(handle)
        except (lib.NVMLError, AttributeError):
            return None

    processes, throttle = ask("nvmlDeviceGetComputeRunningProcesses"), ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return GpuProbe(
        gpu=gpu,
        total=memory.total,
        free=memory.free,
        held=memory.used,
        reserved=memory.reserved,
        processes=None if processes is None else len(processes),
        driver=driver,
        cuda=(cuda // 1000, cuda % 1000 // 10),
        compute_mode=ask("nvmlDeviceGetComputeMode"),
        uncorrected_errors=uncorrected_errors(lib, handle),
        row_remapping=row_remapping(lib, handle),
        throttle=tuple(throttle_words(throttle or 0)),
        uncut=is_uncut(lib, handle),
    )


def torch_build() -> TorchBuild | None:
    """The installed torch, by its own version file; None where there is none."""
    try:
        found = metadata.distribution("torch")
        text = Path(str(found.locate_file("torch/version.py"))).read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, OSError, UnicodeDecodeError):
        return None
    return TorchBuild(found.version, _cuda_of(text))


def _cuda_of(version_file: str) -> tuple[int, int] | None:
    match = re.search(r"^cuda\b[^=]*=\s*['\"](\d+)\.(\d+)", version_file, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else None


def _folders(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if entry.is_dir()]
    except OSError:
        return []


def _shards(folder: Path) -> list[tuple[str, int]]:
    """(name, bytes) of each."""
    found = []
    for path in folder.glob("*.parquet"):
        with suppress(OSError):  # gone since
            found.append((path.name, path.stat().st_size))
    return found


def _sizes(path: Path, pattern: str) -> list[int]:
    return [status.st_size for status in _statuses(path, pattern)]


def _times(path: Path, pattern: str) -> list[float]:
    return [status.st_mtime for status in _statuses(path, pattern)]


def _statuses(path: Path, pattern: str) -> list[Any]:
    found = []
    for entry in path.glob(pattern):
        try:
            found.append(entry.stat())
        except OSError:
            continue  # gone since
    return found
