"""What the machine looked like over a run: the readings of its system events as columns."""

import math
from array import array
from collections.abc import Mapping
from typing import Any

from engine.run.events import System

# column -> (part of the event, key); what a driver or a slice does not say is NaN
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


class MachineColumns:
    """The readings as columns, one entry an event, in the order they came."""

    def __init__(self) -> None:
        self.time = array("d")
        self.throttled = array("b")  # whether the GPU was held below its clock
        self.readings = {name: array("d") for name in READINGS}
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
        """Add one event. Parts of another shape than ours writes count as not said."""
        parts = {"gpu": event.gpu or {}, "host": event.host}
        self.time.append(event.t)
        for name, (part, key) in READINGS.items():
            self.readings[name].append(_number(parts[part], key))
        reasons = parts["gpu"].get("throttle")
        self.throttle = tuple(str(reason) for reason in reasons) if isinstance(reasons, list) else ()
        self.throttled.append(bool(self.throttle))
        if event.gpu:
            self.gpu_total = _number(event.gpu, "total")
        self.ram_total = _number(event.host, "ram_total")

    def recent(self, name: str, count: int) -> list[float]:
        """The last `count` readings of a column, those that were not said left out."""
        return [value for value in self.readings[name][-count:] if not math.isnan(value)]


def _number(part: Mapping[str, Any], key: str) -> float:
    value = part.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan
