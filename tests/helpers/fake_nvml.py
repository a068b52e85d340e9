"""A fake GPU: the part of pynvml that nanosolo calls, with values that a test sets."""

from types import SimpleNamespace
from typing import Any

GIB = 2**30


NUMBERS = {"Invalid Argument": 2, "Not Supported": 3, "Timeout": 10, "GPU is lost": 15}


class NVMLError(Exception):
    """The error that the real bindings raise; `value` is NVML's error number."""

    @property
    def value(self) -> int:
        return NUMBERS.get(self.args[0], self.args[0])


class FakeNvml:
    """One GPU, by default a healthy A100 of 40 GB."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0
    nvmlMemory_v2 = 2
    nvmlEventTypeXidCriticalError = 8

    def __init__(self) -> None:
        self.name = "NVIDIA A100-SXM4-40GB"
        self.total = 40 * GIB
        self.used = 5 * 2**20
        self.reserved: int | None = None  # by the driver; None: an old driver that does not report it
        self.processes = 0
        self.driver = "580.65.06"
        self.cuda = 13000
        self.capability = (8, 0)
        self.compute_mode = 0
        self.uncorrected = 0
        self.rows = (0, 0, 0, 0)
        self.throttle = 0
        self.mig = False
        self.slices: list[str] = []  # names of MIG slices
        self.xids: list[int] = []  # reported one per call
        self.refused: set[str] = set()  # functions that this driver lacks
        self.lost = False
        self.fails = 0  # NVML's error number at initialization

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name[4].isupper() and name in object.__getattribute__(self, "refused"):
            return self._refuse
        return object.__getattribute__(self, name)

    def _refuse(self, *_: Any) -> Any:
        raise NVMLError("Not Supported")

    def nvmlInit(self) -> None:
        if self.fails:
            raise NVMLError(self.fails)

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index != 0 or self.lost:
            raise NVMLError("GPU is lost" if self.lost else "Invalid Argument")
        return "gpu"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return {"GPU-1": "gpu", "MIG-1": "slice 1"}.get(uuid) or self._refuse()

    def nvmlDeviceGetMigMode(self, handle: str) -> list[int]:
        return [int(self.mig or bool(self.slices)), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:
        return f"slice {index}" if index >= 7 - len(self.slices) else self._refuse()

    def nvmlDeviceGetName(self, handle: str) -> str:
        return self.slices[0] if handle.startswith("slice") else self.name

    def nvmlDeviceGetMemoryInfo(self, handle: str, version: int | None = None) -> Any:
        if self.lost:
            raise NVMLError("GPU is lost")
        if version is not None and self.reserved is None:
            return self._refuse()
        total, kept = self.total // (8 if handle.startswith("slice") else 1), self.reserved or 0
        return SimpleNamespace(
            total=total, used=self.used + (kept if version is None else 0), free=total - kept - self.used, reserved=kept
        )

    def nvmlDeviceGetCudaComputeCapability(self, handle: str) -> tuple[int, int]:
        return self.capability

    def nvmlSystemGetDriverVersion(self) -> str:
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return self.cuda

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[int]:
        return list(range(self.processes))

    def nvmlDeviceGetComputeMode(self, handle: str) -> int:
        return self.compute_mode

    def nvmlDeviceGetTotalEccErrors(self, handle: str, kind: int, since: int) -> int:
        return self.uncorrected

    def nvmlDeviceGetRemappedRows(self, handle: str) -> tuple[int, int, int, int]:
        return self.rows

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        return self.throttle

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        return SimpleNamespace(gpu=99, memory=50)

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 64

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 381_600

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:
        return 1395

    def nvmlEventSetCreate(self) -> str:
        return "events"

    def nvmlDeviceRegisterEvents(self, handle: str, kinds: int, events: str) -> None:
        assert kinds == self.nvmlEventTypeXidCriticalError

    def nvmlEventSetWait_v2(self, events: str, milliseconds: int) -> Any:
        assert milliseconds == 0  # it must not wait
        if not self.xids:
            raise NVMLError("Timeout")
        return SimpleNamespace(eventType=self.nvmlEventTypeXidCriticalError, eventData=self.xids.pop(0))
