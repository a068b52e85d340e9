"""Samples the GPU and the host once a second, and says what was seen as one event every few."""

from pathlib import Path
from typing import Any

import psutil

from engine.core.diagnostic import Diagnostic
from engine.core.units import GIB
from engine.events.kinds import Advice, System
from engine.hardware.detect import gpu_handle, gpu_memory, nvml
from engine.hardware.gpu_fault_watch import FaultWatch, KernelLog

SAMPLE_SECONDS = 1.0
SAMPLES_PER_EVENT = 5  # a 60-hour run then writes 43,000 lines, not 216,000

# NVML's clock-event bits that slow a GPU down, in words.
THROTTLE_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
}


# The power cap is normal: it holds every PCIe card back. These are not.
ALARMING = ("hardware slowdown", "software thermal", "hardware thermal", "power brake")


class Monitor:
    """Looks at one GPU, if there is one, and at the host."""

    def __init__(self, disk: Path) -> None:
        self._nvml = nvml()
        self._handle = gpu_handle(self._nvml) if self._nvml is not None else None
        self._kernel_log = KernelLog()
        self._faults = FaultWatch(self._nvml, self._handle, self._kernel_log) if self._handle is not None else None
        self._told: set[str] = set()
        self._disk = disk
        self._samples: list[dict[str, Any]] = []
        self._count = 0
        psutil.cpu_percent()  # the first call only starts the clock

    def sample(self) -> System | None:
        """Take one sample; every few samples, the event that sums them up."""
        gpu = self._gpu()
        if gpu:
            self._samples.append(gpu)
        self._count += 1
        if self._count < SAMPLES_PER_EVENT:
            return None
        event = System(gpu=_summary(self._samples), host=self._host())
        self._samples, self._count = [], 0
        return event

    def faults(self) -> list[Diagnostic]:
        """What went wrong with the GPU since the last call."""
        return self._faults.new() if self._faults is not None else []

    def killed(self, pid: int) -> bool:
        """Whether the kernel's log says that it ended this process for lack of memory."""
        return self._kernel_log.killed(pid)

    def notices(self, event: System) -> list[Advice]:
        """What a reading says that a user should hear of, each once in the life of a runner."""
        gpu = event.gpu or {}
        reasons = [reason for reason in gpu.get("throttle") or () if reason in ALARMING]
        found = {}
        if reasons:
            degrees = f" at {gpu['temperature']} °C" if gpu.get("temperature") is not None else ""
            found["gpu_throttled"] = f"the GPU slows itself down{degrees}: {', '.join(reasons)}. Improve its cooling."
        if (gpu.get("processes") or 0) > 1:
            others = gpu["processes"] - 1
            found["gpu_shared"] = (
                f"{others} other process{'es are' if others > 1 else ' is'} on this GPU and may take the memory that "
                "this run needs. End what you can spare: nvidia-smi lists it."
            )
        new = {code: message for code, message in found.items() if code not in self._told}
        self._told.update(new)
        return [Advice(code=code, message=message, change={}, effect="") for code, message in new.items()]

    def _host(self) -> dict[str, Any]:
        memory = psutil.virtual_memory()
        return {
            "cpu": psutil.cpu_percent(),
            "ram_used": _gib(memory.total - memory.available),
            "ram_total": _gib(memory.total),
            "disk_free": self._disk_free(),
        }

    def _disk_free(self) -> float | None:
        try:
            return _gib(psutil.disk_usage(str(self._disk)).free)
        except OSError:
            return None  # a network disk that is away for a while

    def _gpu(self) -> dict[str, Any] | None:
        lib, handle = self._nvml, self._handle
        if lib is None or handle is None:
            return None
        try:
            memory = gpu_memory(lib, handle)
            found: dict[str, Any] = {"used": _gib(memory.used), "total": _gib(memory.total)}
        except lib.NVMLError:
            return None
        readings = {
            "utilization": lambda: lib.nvmlDeviceGetUtilizationRates(handle).gpu,
            "temperature": lambda: lib.nvmlDeviceGetTemperature(handle, lib.NVML_TEMPERATURE_GPU),
            "power": lambda: round(lib.nvmlDeviceGetPowerUsage(handle) / 1000),
            "clock": lambda: lib.nvmlDeviceGetClockInfo(handle, lib.NVML_CLOCK_SM),
            "throttle": lambda: throttle_words(lib.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
            "processes": lambda: len(lib.nvmlDeviceGetComputeRunningProcesses(handle)),
        }
        for key, read in readings.items():
            try:
                found[key] = read()
            except lib.NVMLError:
                found[key] = None  # this driver or slice does not say
        return found


def throttle_words(bits: int) -> list[str]:
    """The reasons, in words, for which the GPU runs below its clock."""
    return [word for bit, word in THROTTLE_REASONS.items() if bits & bit]


def _summary(samples: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The last sample, with the most memory and all throttle reasons that were seen since the last event."""
    if not samples:
        return None
    throttle = sorted({reason for sample in samples for reason in sample["throttle"] or ()})
    return {**samples[-1], "used": max(sample["used"] for sample in samples), "throttle": throttle}


def _gib(size: int) -> float:
    return round(size / GIB, 2)
