"""What this machine is: its GPUs through NVML, its cores, and the memory that its limits leave."""

import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from engine.config.schema import RunConfig
from engine.hardware import cgroups, gpu_catalog
from engine.hardware.gpu_catalog import Gpu


def nvml() -> Any | None:
    """The NVML bindings, initialized; None where there is no driver. A missing GPU is a fact, not an error."""
    if "pynvml" not in sys.modules and sys.platform == "linux" and not _has_driver():
        return None  # the bindings take 40 ms to import
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # NVMLError of many kinds, or a library that does not load: all mean "no NVIDIA GPU to see"
        return None
    return pynvml


def _has_driver() -> bool:
    import ctypes  # not for a plan of the CPU, nor for what only reads

    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


class GpuMemory(NamedTuple):
    """Memory of a GPU as NVML counts it, in bytes."""

    total: int  # all of the board's, or of the slice's
    free: int
    used: int  # by processes; with what the driver keeps for itself where that is not known
    reserved: int | None  # by the driver for itself; None where it does not say

    @property
    def usable(self) -> int | None:
        """What torch sees as the total memory; None where the driver does not say."""
        return self.total - self.reserved if self.reserved else None


def gpu_memory(lib: Any, handle: Any) -> GpuMemory:
    """What NVML says of a device's memory, by the second version of its call where the driver has it (from 510).

    Raises NVMLError for a device that is lost.
    """
    try:
        info = lib.nvmlDeviceGetMemoryInfo(handle, version=lib.nvmlMemory_v2)
    except (lib.NVMLError, AttributeError, TypeError):
        info = lib.nvmlDeviceGetMemoryInfo(handle)
        return GpuMemory(int(info.total), int(info.free), int(info.used), None)
    return GpuMemory(int(info.total), int(info.free), int(info.used), int(info.reserved))


def gpu_index() -> int:
    """NVML's index of the GPU that torch calls cuda:0, if CUDA_VISIBLE_DEVICES gives it as a number."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return int(first) if first.isdigit() else 0


def gpu_handle(lib: Any) -> Any | None:
    """NVML's handle of the device that torch calls cuda:0, a MIG slice where there is one; None where there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = (visible or "").split(",")[0].strip()
    if visible is not None and first in ("", "-1"):
        return None
    try:
        if first.startswith(("GPU-", "MIG-")):
            handle = lib.nvmlDeviceGetHandleByUUID(first)
        else:
            handle = lib.nvmlDeviceGetHandleByIndex(gpu_index())
    except lib.NVMLError:
        return None
    return handle if first.startswith("MIG-") else _first_slice(lib, handle) or handle


def _first_slice(lib: Any, handle: Any) -> Any | None:
    """The first MIG slice of a GPU that is cut into slices: all that torch can see of it."""
    try:
        if not lib.nvmlDeviceGetMigMode(handle)[0]:
            return None
        for number in range(lib.nvmlDeviceGetMaxMigDeviceCount(handle)):
            with contextlib.suppress(lib.NVMLError):
                return lib.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
    except (lib.NVMLError, AttributeError):
        return None  # a GPU that cannot be cut, or a driver that does not say
    return None


def is_uncut(lib: Any, handle: Any) -> bool:
    """Whether a GPU is in MIG mode without any slice, so that nothing can run on it."""
    try:
        return bool(lib.nvmlDeviceGetMigMode(handle)[0]) and _first_slice(lib, handle) is None
    except (lib.NVMLError, AttributeError):
        return False


def detect_gpu() -> Gpu | None:
    """The GPU that torch would use; None where NVML sees none."""
    lib = nvml()
    handle = gpu_handle(lib) if lib is not None else None
    if lib is None or handle is None:
        return None
    try:
        name = lib.nvmlDeviceGetName(handle)
        memory = gpu_memory(lib, handle)
    except lib.NVMLError:
        return None  # lost: torch cannot use it either
    try:
        major, minor = lib.nvmlDeviceGetCudaComputeCapability(handle)
    except lib.NVMLError:
        major, minor = 8, 0  # some drivers do not say it of a slice; only these GPUs and later can be cut
    return gpu_catalog.by_name(name, memory.total, (major, minor), memory.usable)


def detect_cpu(threads: int | None = None) -> Gpu:
    """The host's processor, with the cores (or as many threads) and the memory that this process may use."""
    wide = "avx512f" in _read(Path("/proc/cpuinfo"))
    return gpu_catalog.cpu(threads or usable_cores(), memory_limit(), cpu_name(), wide)


def cpu_name() -> str:
    """The processor as it calls itself."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return " ".join(value.replace("(R)", "").replace("(TM)", "").partition("@")[0].split())
    return platform.processor() or platform.machine() or "CPU"


def detect() -> Gpu:
    """The device that `runtime.gpu = "auto"` means here."""
    return detect_gpu() or detect_cpu()


def device_for(config: RunConfig) -> Gpu:
    """The device to plan for: the one named, else the one found here. Raises UsageError for an unknown name."""
    return planned_device(config)[0]


def planned_device(config: RunConfig) -> tuple[Gpu, Gpu | None]:
    """(the device to plan for, the GPU that is here where one was asked for). Raises UsageError for an unknown id."""
    found = None if config.runtime.gpu == "cpu" else detect_gpu()
    return card_for(config, found) or detect_cpu(config.runtime.threads), found


def launch_device(config: RunConfig, found: Gpu | None) -> Gpu:
    """The device that a run uses where the GPU `found` is here, whatever GPU its configuration names; the named one
    where none is here. Raises UsageError for an unknown id."""
    if config.runtime.device == "cpu" or (config.runtime.device == "auto" and config.runtime.gpu == "cpu"):
        return detect_cpu(config.runtime.threads)
    return found or card_for(config, None) or detect_cpu(config.runtime.threads)


def usable_cores() -> int:
    """Whole cores that this process may use, at least one: its affinity, and the smallest quota of its groups."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroups.cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def memory_limit() -> int:
    """Bytes of host memory that this process may use: the machine's, or the smallest limit of its groups."""
    total, limit = int(psutil.virtual_memory().total), cgroups.memory_limit()
    return total if limit is None else min(total, limit)


def memory_available() -> int:
    """Bytes of host memory that can still be taken: of the machine's, and below the limits of this process' groups."""
    available, left = int(psutil.virtual_memory().available), cgroups.memory_left()
    return available if left is None else min(available, left)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def card_for(config: RunConfig, found: Gpu | None) -> Gpu | None:
    """The GPU to plan for where `found` is here; None for the CPU. Raises UsageError for an id that is not known.

    A named card stays, wherever the plan is made; where that card is here, it has the memory that its driver leaves.
    """
    named = config.runtime.gpu
    if named == "cpu" or (named == "auto" and config.runtime.device == "cpu"):
        return None
    if named == "auto":
        return found
    listed = gpu_catalog.by_id(named)
    return found if found is not None and found.id == listed.id else listed
