"""What this machine is: its GPUs through NVML, its cores, and the memory that its limits leave."""

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from engine.errors import UsageError
from engine.plan import gpus
from engine.plan.config import RunConfig
from engine.plan.gpus import Gpu

CGROUP = Path("/sys/fs/cgroup")


def nvml() -> Any | None:
    """The NVML bindings, initialised; None where there is no driver. A missing GPU is a fact, not an error."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # NVMLError of many kinds, or a library that does not load: all mean "no NVIDIA GPU to see"
        return None
    return pynvml


def gpu_index() -> int:
    """NVML's index of the GPU that torch calls cuda:0, as far as CUDA_VISIBLE_DEVICES tells by number."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return int(first) if first.isdigit() else 0


def detect_gpu() -> Gpu | None:
    """The GPU that torch would use; None where NVML sees none."""
    lib = nvml()
    if lib is None or lib.nvmlDeviceGetCount() == 0 or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    handle = lib.nvmlDeviceGetHandleByIndex(gpu_index())
    name = lib.nvmlDeviceGetName(handle)
    major, minor = lib.nvmlDeviceGetCudaComputeCapability(handle)
    return gpus.by_name(name, int(lib.nvmlDeviceGetMemoryInfo(handle).total), (major, minor))


def detect_cpu() -> Gpu:
    """The host's processor, with the cores and the memory that this process may use."""
    return gpus.cpu(usable_cores(), memory_limit(), platform.processor() or platform.machine() or "CPU")


def detect() -> Gpu:
    """The device that `runtime.gpu = "auto"` means here."""
    return detect_gpu() or detect_cpu()


def device_for(config: RunConfig) -> Gpu:
    """The device to plan for: the one named, else the one found here. Raises UsageError for an unknown name."""
    if config.runtime.gpu == "cpu" or (config.runtime.gpu == "auto" and config.runtime.device == "cpu"):
        return detect_cpu()
    return detect() if config.runtime.gpu == "auto" else gpus.by_id(config.runtime.gpu)


def require_device(config: RunConfig) -> None:
    """Refuse a run that asks for a GPU where there is none. Raises UsageError with the ways out."""
    wants_gpu = config.runtime.device == "cuda" or (
        config.runtime.device == "auto" and config.runtime.gpu not in ("auto", "cpu")
    )
    if wants_gpu and detect_gpu() is None:
        raise UsageError(
            f'runtime.gpu = "{config.runtime.gpu}": no NVIDIA GPU is visible here. Run it on that machine, '
            "train on this CPU with --preset quickstart, or insist with --gpu cpu."
        )


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def memory_limit() -> int:
    """Bytes of host memory this process may use: the machine's, or the container's limit where it is less."""
    limit = _read(CGROUP / "memory.max")
    total = int(psutil.virtual_memory().total)
    return min(total, int(limit)) if limit.isdigit() else total


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed in this container for lack of memory; 0 where it does not say."""
    for line in _read(CGROUP / "memory.events").splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill" and value.isdigit():
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
