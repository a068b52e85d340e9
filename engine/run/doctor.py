"""Checks of this machine: driver, GPU, memory, limits, disk, versions, each with what to do about it."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from engine import __version__
from engine.errors import NanosoloError
from engine.plan.gpus import GIB
from engine.run import words
from engine.run.hardware import detect_gpu, gpu_index, memory_limit, nvml, usable_cores
from engine.run.home import home, require_writable

Verdict = Literal["ok", "note", "warning", "problem"]
PACKAGES = ("torch", "textual", "tiktoken", "rustbpe", "safetensors", "huggingface_hub", "nvidia-ml-py")
LITTLE_SHARED_MEMORY = 1 * GIB
LITTLE_DISK = 20 * GIB


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One finding."""

    name: str
    verdict: Verdict
    finding: str
    action: str = ""


def examine() -> list[Check]:
    """Look at everything that a run here depends on. Imports no torch."""
    return [*_software(), *_gpu(), *_host(), *_disk()]


def _software() -> Iterator[Check]:
    python = platform.python_version()
    yield Check(name="nanosolo", verdict="ok", finding=f"{__version__}, Python {python} on {platform.platform()}")
    for package in PACKAGES:
        try:
            yield Check(name=package, verdict="ok", finding=metadata.version(package))
        except metadata.PackageNotFoundError:
            action = f"{sys.executable} -m pip install {package}"
            yield Check(name=package, verdict="problem", finding="not installed", action=action)


def _gpu() -> Iterator[Check]:
    gpu = detect_gpu()
    if gpu is None:
        action = "train on the CPU with --preset quickstart; on a GPU machine, install NVIDIA's driver"
        yield Check(name="GPU", verdict="note", finding="no NVIDIA GPU is visible here", action=action)
        return
    lib = nvml()
    assert lib is not None
    handle = lib.nvmlDeviceGetHandleByIndex(gpu_index())
    memory = lib.nvmlDeviceGetMemoryInfo(handle)
    known = "" if gpu.peak_flops else ", not in the catalogue: its times are not predicted"
    yield Check(name="GPU", verdict="ok", finding=f"{gpu.name}, plans as {gpu.id}{known}")
    others = len(lib.nvmlDeviceGetComputeRunningProcesses(handle))
    yield Check(
        name="GPU memory",
        verdict="warning" if others else "ok",
        finding=f"{words.size(memory.free)} of {words.size(memory.total)} free, {others} other processes",
        action="end the other processes, or plan for what is left" if others else "",
    )
    driver = lib.nvmlSystemGetDriverVersion()
    cuda = lib.nvmlSystemGetCudaDriverVersion()
    yield Check(name="driver", verdict="ok", finding=f"{driver}, CUDA up to {cuda // 1000}.{cuda % 1000 // 10}")


def _host() -> Iterator[Check]:
    limit, total = memory_limit(), psutil.virtual_memory().total
    bound = f", limited from {words.size(total)} by the container" if limit < total else ""
    yield Check(name="host", verdict="ok", finding=f"{usable_cores()} cores, {words.size(limit)} of memory{bound}")
    shared = Path("/dev/shm")
    if shared.exists():
        size = shutil.disk_usage(shared).total
        yield Check(name="/dev/shm", verdict="note" if size < LITTLE_SHARED_MEMORY else "ok", finding=words.size(size))


def _disk() -> Iterator[Check]:
    folder = home()
    try:
        require_writable(folder)
    except NanosoloError as error:
        yield Check(name="home", verdict="problem", finding=str(folder), action=str(error))
        return
    free = shutil.disk_usage(folder).free
    little = free < LITTLE_DISK
    where = "NANOSOLO_HOME" if os.environ.get("NANOSOLO_HOME") else "the default; NANOSOLO_HOME moves it"
    yield Check(
        name="home",
        verdict="warning" if little else "ok",
        finding=f"{folder} ({where}), {words.size(free)} free",
        action="free some space: a balanced run needs about 27 GB" if little else "",
    )
