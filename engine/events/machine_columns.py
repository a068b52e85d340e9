"""What the machine looked like over a run: the readings of its system events as columns."""

import math
from array import array
from typing import Any

from engine.events.kinds import System

# column -> (part of the event, key); values that a driver or a slice does not report are NaN
READINGS = {
    "gpu_used": ("gpu", "used"),  # GiB
    "utilization": ("gpu", "utilization"),  # %
    "temperature": ("gpu", "temperature"),  # degrees Celsius
    "power": ("gpu", "power"),  # watts
    "clock": ("gpu", "clock"),  # MHz
    "processes": ("gpu", "processes"),
    "cpu": ("host", "cpu"),  # %
    "ram_used": ("host", "ram_used"),  # GiB
    "disk_free": ("host", "disk_free"),  # GiB
}
NUMBERS = (float, int)
LARGEST = 1e15  # beyond any reading; a damaged line may hold anything


class MachineColumns:
    """The readings as columns, one entry an event, in the order they came."""

    def __init__(self) -> None:
        self.time = array("d")
        self.throttled = array("b")  # whether the GPU was held below its clock
        self.readings = {name: array("d") for name in READINGS}
        self._sources = [(self.readings[name], *READINGS[name]) for name in READINGS]
        self.gpu_total = math.nan  # GiB
        self.ram_total = math.nan
        self.throttle: tuple[str, ...] = ()  # the reasons in the newest event

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, name: str) -> "array[float]":
        """The column of that name. Raises KeyError for a name that is not in READINGS."""
        return self.readings[name]

    @property
    def has_gpu(self) -> bool:
        """Whether NVML saw a GPU in the newest event."""
        used = self.readings["gpu_used"]
        return bool(used) and not math.isnan(used[-1])

    def append(self, event: System) -> None:
        """Add one event. Values of an unexpected type count as not reported."""
        parts: dict[str, dict[str, Any]] = {"gpu": event.gpu or {}, "host": event.host}
        gpu, host = parts["gpu"], parts["host"]
        self.time.append(event.t)
        for column, part, key in self._sources:
            value: Any = parts[part].get(key)
            column.append(value if type(value) in NUMBERS and -LARGEST < value < LARGEST else math.nan)
        reasons = gpu.get("throttle")
        self.throttle = tuple(str(reason) for reason in reasons) if isinstance(reasons, list) else ()
        self.throttled.append(bool(self.throttle))
        if gpu:
            self.gpu_total = _number(gpu.get("total"))
        self.ram_total = _number(host.get("ram_total"))

    def recent(self, name: str, count: int) -> list[float]:
        """The last `count` readings of a column, without those that were not reported."""
        return [value for value in self.readings[name][-count:] if not math.isnan(value)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and -LARGEST < value < LARGEST else math.nan
