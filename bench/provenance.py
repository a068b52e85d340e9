"""The head of each benchmark result: when and how it was measured, on which machine, with which versions."""

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from engine.device.device import device_name


def provenance(device: str, packages: Sequence[str]) -> dict[str, Any]:
    """The head of a result. `device`: cpu or cuda."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv]),
        "machine": {
            "device": device_name(device),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
        },
        "versions": {name: version(name) for name in packages},
    }
