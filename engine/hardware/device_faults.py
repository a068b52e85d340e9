"""Why a device cannot be used, from how the attempt failed and the probe of the machine. Pure functions.

Numbers: cudaError_t, https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html; CUresult has the same.
"""

import re
import signal
import sys
from typing import Literal

import msgspec

from engine.core import formatting
from engine.core.diagnostic import Diagnostic, failure
from engine.hardware.drivers import WHEELS, Version, Wheel, command_for, version, wanted_torch, wheel_for
from engine.hardware.gpu_access import (
    EXCLUSIVE,
    FORBIDDEN,
    ON_CPU,
    OPEN_GPU,
    PROHIBITED,
    UNCUT,
    GpuAccess,
    missing_capability,
    nodes_closed,
    why_no_gpu,
)
from engine.hardware.gpu_faults import XIDS
from engine.hardware.probe_machine import GpuProbe
from engine.hardware.toolchain import Toolchain, build_fault

RESTART = "Restart the machine, or use another"

# torch's texts for error numbers
_SAID: tuple[tuple[str, int], ...] = (
    (r"out of memory", 2),
    (r"driver initialization failed", 3),
    (r"driver on your system is too old|CUDA driver version is insufficient", 35),
    (r"busy or unavailable", 46),
    (r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device", 100),
    (r"invalid device ordinal", 101),
    (r"no kernel image is available", 209),
    (r"uncorrectable ECC error", 214),
    (r"system not yet initialized", 802),
    (r"unsupported display driver / cuda driver combination", 803),
    (r"CUDA unknown error|unknown error", 999),
)

_FAULTS = {
    34: failure(
        "cuda_stub",
        "the loaded CUDA library is the toolkit's stub, not the driver's library",
        "Remove folders named stubs from LD_LIBRARY_PATH",
    ),
    214: failure("ecc", *XIDS[48]),
    802: failure(
        "fabric_manager",
        "the GPU waits for the fabric manager of its NVLink switches (CUDA error 802)",
        "Start it on the host: systemctl start nvidia-fabricmanager, in exactly the driver's version; "
        "on a rented machine, ask the provider or use another machine",
    ),
    803: failure(
        "driver_mismatch",
        "the driver in the kernel and the CUDA library have different versions (CUDA error 803)",
        "Restart the machine after an update of the driver; in a container, remove cuda-compat from LD_LIBRARY_PATH "
        "and restart it",
    ),
    804: failure(
        "compat_not_supported",
        "the loaded CUDA compatibility library does not support this GPU (CUDA error 804)",
        "Remove cuda-compat from LD_LIBRARY_PATH, or update the driver",
    ),
}


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How far an attempt to use the device got."""

    failed: Literal["", "library", "driver", "import", "build", "allocation", "compile", "killed", "too_slow"] = ""
    code: int = 0  # CUDA's number, or the signal that ended the process
    error: str = ""
    torch: str = ""
    cuda: str = ""  # that torch is built with; empty: for CPUs
    archs: tuple[str, ...] = ()  # that torch has code for: sm_80


def explain(attempt: Attempt, access: GpuAccess, gpu: GpuProbe | None, tools: Toolchain) -> Diagnostic:
    """The cause of the failure, and what to do about it."""
    if attempt.failed == "library":
        return _no_library(attempt, access)
    if attempt.failed == "import":
        return _no_torch(attempt)
    if attempt.failed == "build":
        wheel = _wheel(access, gpu) or WHEELS[0]
        way = f"Install the matching build with `{command_for(wheel, attempt.torch)}`; {ON_CPU}"
        return failure("cpu_build", f"torch {attempt.torch} is a build for CPUs and cannot use the GPU", way)
    if attempt.failed == "compile":
        return build_fault(attempt.error, tools)
    if attempt.failed == "killed":
        what = f"torch was killed by {_signal_name(attempt.code)} during startup"
        return failure("torch_killed", what, "SIGKILL: free some host memory; otherwise check dmesg")
    if attempt.failed == "too_slow":
        look = "Check nvidia-smi" if gpu is not None else "Check what else runs on this machine"
        return failure("too_slow", f"torch did not start: {attempt.error}", f"{look}, and try again")
    return _cuda_fault(attempt, access, gpu)


def cuda_code(attempt: Attempt) -> int:
    """CUDA's error number; 0 where it is unknown."""
    if attempt.code:
        return attempt.code
    numbered = re.search(r"\b[Ee]rror (\d{1,3})\b", attempt.error)
    if numbered:
        return int(numbered[1])
    return next((code for pattern, code in _SAID if re.search(pattern, attempt.error)), 0)


def _cuda_fault(attempt: Attempt, access: GpuAccess, gpu: GpuProbe | None) -> Diagnostic:
    code = cuda_code(attempt)
    if code in _FAULTS:
        return _FAULTS[code]
    if code in (3, 100, 101) and (gpu is None or access.uncut or access.closed or access.lacks("compute")):
        return _no_device(access, gpu)
    if code in (35, 36):
        return _too_old(attempt, access, gpu)
    if code == 46:
        return _taken(gpu)
    if code == 209:
        return _no_code(attempt, access, gpu)
    if code == 2:
        return _full(gpu)
    if code == 999 and "nvidia-uvm" not in access.nodes:
        what = "the driver's CUDA module (/dev/nvidia-uvm) is missing"
        return failure("no_uvm", what, "Load it on the host, as root: nvidia-modprobe -u -c=0")
    first = attempt.error.splitlines()[0] if attempt.error else f"error {code}"
    here = f"CUDA fails to start on {gpu.gpu.name}" if gpu is not None else "CUDA fails to start"
    return failure("cuda_failed", f"{here}: {first}", f"Check nvidia-smi. {RESTART}")


def _no_device(access: GpuAccess, gpu: GpuProbe | None) -> Diagnostic:
    if gpu is None and not access.uncut:
        return why_no_gpu(access)
    if access.uncut:
        return UNCUT
    if access.closed:
        return nodes_closed(access)
    return missing_capability(access, "compute")


def _no_library(attempt: Attempt, access: GpuAccess) -> Diagnostic:
    if access.lacks("compute"):
        return missing_capability(access, "compute")
    way = "Start the container with --gpus all" if access.container else "Install it with the driver (Debian: libcuda1)"
    return failure("no_cuda_library", f"the driver's CUDA library cannot be loaded: {attempt.error}", way)


def _no_torch(attempt: Attempt) -> Diagnostic:
    missing = re.search(r"(\S+\.so[.\d]*): cannot open shared object file", attempt.error)
    said = f"the library {missing[1]} is missing" if missing else attempt.error.splitlines()[0]
    again = f"{sys.executable} -m pip install --force-reinstall torch=={wanted_torch()}"
    way = f"Install it with the system's package manager, or reinstall torch with `{again}`"
    return failure("torch_broken", f"torch cannot be imported: {said}", way)


def _too_old(attempt: Attempt, access: GpuAccess, gpu: GpuProbe | None) -> Diagnostic:
    driver = gpu.driver if gpu is not None else access.module
    wheel = _wheel(access, gpu)
    built = f"torch {attempt.torch} is built for CUDA {attempt.cuda}"
    if wheel is not None and _is_installed(wheel, attempt):
        what = f"driver {driver} should run torch {attempt.torch}, but the loaded CUDA library is older"
        return failure("old_cuda_library", what, "Remove folders with another libcuda.so.1 from LD_LIBRARY_PATH")
    newest = WHEELS[0].oldest_driver
    way = f"Update the driver to {newest} or newer"
    if wheel is not None:
        way = f"Install the matching build with `{command_for(wheel, attempt.torch)}`; or update the driver"
    return failure("driver_too_old", f"driver {driver or 'here'} is too old: {built}", way)


def _taken(gpu: GpuProbe | None) -> Diagnostic:
    mode = gpu.compute_mode if gpu is not None else None
    if mode == PROHIBITED:
        return FORBIDDEN
    if mode == EXCLUSIVE:
        way = f"End that process (nvidia-smi lists it), or allow more processes, as root: {OPEN_GPU}"
        return failure("gpu_exclusive", "another process has exclusive use of the GPU (compute mode exclusive)", way)
    return failure("gpu_busy", "the GPU is busy or unavailable", f"Check nvidia-smi. {RESTART}")


def _no_code(attempt: Attempt, access: GpuAccess, gpu: GpuProbe | None) -> Diagnostic:
    name = gpu.gpu.name if gpu is not None else "this GPU"
    wheel = _wheel(access, gpu)
    way = "Use a newer GPU"
    if wheel is not None and not _is_installed(wheel, attempt):
        way = f"Install the matching build with `{command_for(wheel, attempt.torch)}`"
    has = ", ".join(attempt.archs)
    return failure("gpu_not_supported", f"torch {attempt.torch} has code for {has}, none of it for {name}", way)


def _full(gpu: GpuProbe | None) -> Diagnostic:
    held = (
        f": {formatting.size(gpu.total - gpu.free)} of {formatting.size(gpu.total)} are in use"
        if gpu is not None
        else ""
    )
    return failure(
        "gpu_full", f"GPU memory is already full{held}", "End the processes that use it (nvidia-smi lists them)"
    )


def _wheel(access: GpuAccess, gpu: GpuProbe | None) -> Wheel | None:
    driver = gpu.driver if gpu is not None else access.module
    capability: Version | None = gpu.gpu.compute_capability if gpu is not None else None
    return wheel_for(driver, capability) if version(driver) else None


def _is_installed(wheel: Wheel, attempt: Attempt) -> bool:
    return attempt.cuda == ".".join(map(str, wheel.cuda))


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
