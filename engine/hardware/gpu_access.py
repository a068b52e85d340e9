"""What prevents this process from using an NVIDIA GPU, checked without torch."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from engine.core.diagnostic import Diagnostic, failure
from engine.hardware import detect
from engine.hardware.drivers import WHEELS
from engine.hardware.gpu_faults import XIDS

DEV, PROC, BUS = Path("/dev"), Path("/proc"), Path("/sys/bus/pci/devices")
CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv", "/.singularity.d")

# NVML's return codes: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html
NO_PERMISSION, NOT_LOADED, NO_LIBRARY, LOST, MISMATCH = 4, 9, 12, 15, 18

PROHIBITED, EXCLUSIVE = 2, 3  # NVML's compute modes

ON_CPU = "to train on the CPU: --gpu cpu"
UNCUT = failure(
    "mig_without_slices",
    "the GPU is in MIG mode without any slice",
    "As root, create one (nvidia-smi mig -cgi 0 -C) or turn MIG off (nvidia-smi -mig 0)",
)
OPEN_GPU = "nvidia-smi --compute-mode=DEFAULT"
FORBIDDEN = failure(
    "gpu_prohibited",
    "the GPU does not accept programs (compute mode prohibited)",
    f"As root, allow it: {OPEN_GPU}",
)


class GpuAccess(NamedTuple):
    """What this process can see of NVIDIA's driver and its GPUs."""

    visible: str | None = None  # CUDA_VISIBLE_DEVICES, where it is set
    nvml: int = 0  # NVML's code where it does not start or loses the first GPU; 0 where it works
    devices: int = 0  # GPUs that NVML counts
    module: str = ""  # version of the driver in the kernel
    on_bus: bool = False  # an NVIDIA GPU is plugged in, used here or not
    nodes: tuple[str, ...] = ()  # device nodes of the driver that are here
    closed: tuple[str, ...] = ()  # of these, those that this user may not open
    container: bool = False
    capabilities: str | None = None  # NVIDIA_DRIVER_CAPABILITIES, where it is set
    uncut: bool = False  # MIG is on, and no slice is made

    @property
    def has_nodes(self) -> bool:
        """Whether a GPU is given to this machine or container."""
        return any(re.fullmatch(r"nvidia\d+", name) for name in self.nodes)

    @property
    def hidden(self) -> bool:
        """Whether the GPUs are hidden from this process on purpose."""
        return self.visible in ("", "-1")

    def lacks(self, capability: str) -> bool:
        """Whether the container was started without one of the driver's capabilities, such as `compute`."""
        granted = (self.capabilities or "").split(",")
        return self.container and self.capabilities is not None and not {capability, "all"} & set(granted)


def gpu_access() -> GpuAccess:
    """Look. Some milliseconds; imports the NVML bindings."""
    nodes = tuple(sorted(path.name for path in DEV.glob("nvidia*") if not path.is_dir()))
    code, devices, uncut = _ask_nvml()
    return GpuAccess(
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        nvml=code,
        devices=devices,
        module=_module_version(),
        on_bus=any(_is_gpu(path) for path in BUS.glob("*")),
        nodes=nodes,
        closed=tuple(name for name in nodes if not os.access(DEV / name, os.R_OK | os.W_OK)),
        container=any(Path(name).exists() for name in CONTAINER_FILES) or "container" in os.environ,
        capabilities=os.environ.get("NVIDIA_DRIVER_CAPABILITIES"),
        uncut=uncut,
    )


def why_no_gpu(access: GpuAccess) -> Diagnostic:
    """Why NVML shows no GPU that this process may use, and what to do about it."""
    if access.nvml == LOST:
        return failure("gpu_lost", *XIDS[79])
    if (access.hidden and access.has_nodes) or (access.visible is not None and access.devices):
        what = f'CUDA_VISIBLE_DEVICES = "{access.visible}" hides all GPUs of this machine'
        return failure("gpu_hidden", what, "Unset it, or name a GPU that nvidia-smi -L lists")
    if access.nvml == MISMATCH:
        return _mismatch(access)
    if access.closed and access.nvml:
        return nodes_closed(access)
    if access.nvml == NOT_LOADED or (access.nvml and access.module and not access.has_nodes and access.container):
        return _not_loaded(access)
    if access.nvml == NO_LIBRARY and (access.has_nodes or access.lacks("utility")):
        return _no_library(access)
    if access.on_bus and not access.module and not access.container:
        what = "an NVIDIA GPU is plugged in, but its driver is not installed"
        return failure("no_driver", what, f"Install NVIDIA's driver, {WHEELS[0].oldest_driver} or newer")
    if access.nvml not in (0, NO_LIBRARY):
        what = f"the NVIDIA driver does not respond (NVML error {access.nvml})"
        return failure("nvml_failed", what, "Check nvidia-smi; restart the machine, or use another")
    return failure("no_gpu", "no NVIDIA GPU is visible here", _how_to_get_one(access))


def nodes_closed(access: GpuAccess) -> Diagnostic:
    """The driver's device nodes exist, but this user has no permission to open them."""
    names = " ".join(f"/dev/{name}" for name in access.closed)
    way = "Start the container with --gpus all" if access.container else "Ask root for read and write permission"
    return failure("nodes_closed", f"this user has no permission to open {names}", way)


def _mismatch(access: GpuAccess) -> Diagnostic:
    module = f" ({access.module})" if access.module else ""
    what = f"the driver in the kernel{module} and its libraries have different versions, usually after an update"
    way = "Restart the container to update its libraries from the host" if access.container else "Restart the machine"
    return failure("driver_mismatch", what, way)


def _not_loaded(access: GpuAccess) -> Diagnostic:
    if access.container:
        return failure("not_passed", "the container was started without a GPU", "Start it with --gpus all")
    return failure("not_loaded", "the NVIDIA driver is not loaded", "Load it (modprobe nvidia), or restart the machine")


def _no_library(access: GpuAccess) -> Diagnostic:
    if access.lacks("utility"):
        return missing_capability(access, "utility")
    what = "NVIDIA's management library (libnvidia-ml.so.1) is missing"
    return failure("no_nvml", what, "Install it with the driver; in a container: -e NVIDIA_DRIVER_CAPABILITIES=all")


def missing_capability(access: GpuAccess, capability: str) -> Diagnostic:
    """The container was started without a part of the driver."""
    what = f'NVIDIA_DRIVER_CAPABILITIES = "{access.capabilities}" leaves out {capability}'
    way = "Start the container with -e NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    return failure(f"no_{capability}", what, way)


def _how_to_get_one(access: GpuAccess) -> str:
    if access.container:
        return "On a GPU machine, start the container with --gpus all"
    return "On a GPU machine, install NVIDIA's driver"


def _ask_nvml() -> tuple[int, int, bool]:
    """(code, GPUs, whether the one that counts is in MIG mode without slices)."""
    try:
        import pynvml as lib
    except ImportError:
        return NO_LIBRARY, 0, False
    devices = 0
    try:
        lib.nvmlInit()
        devices = int(lib.nvmlDeviceGetCount())
        if not devices:
            return 0, 0, False
        handle = lib.nvmlDeviceGetHandleByIndex(min(detect.gpu_index(), devices - 1))
        lib.nvmlDeviceGetMemoryInfo(handle)
        return 0, devices, detect.is_uncut(lib, handle)
    except lib.NVMLError as error:
        return int(getattr(error, "value", 999)), devices, False


def _module_version() -> str:
    try:
        text = (PROC / "driver/nvidia/version").read_text()
    except OSError:
        return ""
    found = re.search(r"\b\d{3}\.\d+(?:\.\d+)?\b", text)
    return found[0] if found else ""


def _is_gpu(device: Path) -> bool:
    """Whether a device on the bus is NVIDIA's and a display or 3D controller."""
    try:
        return (device / "vendor").read_text().strip() == "0x10de" and (device / "class").read_text().startswith("0x03")
    except OSError:
        return False
