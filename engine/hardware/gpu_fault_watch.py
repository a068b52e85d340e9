"""Looks out for GPU faults while a run is under way: NVML's events and counters, and the kernel's log."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.core.diagnostic import Diagnostic, failure
from engine.hardware.gpu_faults import LEAVE, RESET, XIDS, xid

KERNEL_LOG = Path("/dev/kmsg")
XID_LINE = re.compile(rb"NVRM: Xid \([^)]*\): (\d+)")
KILLED_LINE = re.compile(rb"Killed process (\d+)")
MOST_RECORDS = 1000  # of the kernel's log at one time


class KernelLog:
    """What the kernel writes from now on. Silent where it may not be read, as in most containers."""

    def __init__(self, path: Path = KERNEL_LOG) -> None:
        self._fd = -1
        self._xids: list[int] = []
        self._killed: set[int] = set()
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            self.close()

    def xids(self) -> list[int]:
        """The Xid numbers that came since the last call."""
        self._read()
        found, self._xids = self._xids, []
        return found

    def killed(self, pid: int) -> bool:
        """Whether the kernel ended this process for lack of memory."""
        self._read()
        return pid in self._killed

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _read(self) -> None:
        for record in self._records():
            self._killed.update(int(pid) for pid in KILLED_LINE.findall(record))
            self._xids += [int(number) for number in XID_LINE.findall(record)]

    def _records(self) -> Iterator[bytes]:
        for _ in range(MOST_RECORDS if self._fd >= 0 else 0):
            try:
                record = os.read(self._fd, 8192)
            except BrokenPipeError:
                continue  # records were overwritten before we came to read them
            except OSError:
                return
            if not record:
                return
            yield record


class FaultWatch:
    """Faults of one GPU, each told once: when it happens, not for what was there before."""

    def __init__(self, lib: Any, handle: Any, kernel_log: KernelLog) -> None:
        self._lib, self._handle, self._kernel_log = lib, handle, kernel_log
        self._events = self._listen()
        self._errors = uncorrected_errors(lib, handle)
        self._rows = row_remapping(lib, handle)

    def new(self) -> list[Diagnostic]:
        """What happened since the last call."""
        logged = self._kernel_log.xids()
        numbers = self._from_nvml() if self._events is not None else logged
        return [*map(xid, dict.fromkeys(numbers)), *self._counted()]

    def _listen(self) -> Any | None:
        lib = self._lib
        try:
            events = lib.nvmlEventSetCreate()
            lib.nvmlDeviceRegisterEvents(self._handle, lib.nvmlEventTypeXidCriticalError, events)
        except (lib.NVMLError, AttributeError):
            return None  # not on this driver, this slice, or not for us: the kernel's log has to do
        return events

    def _from_nvml(self) -> list[int]:
        found = []
        for _ in range(MOST_RECORDS):
            try:
                found.append(int(self._lib.nvmlEventSetWait_v2(self._events, 0).eventData))
            except self._lib.NVMLError:  # nothing (more) happened
                break
        return found

    def _counted(self) -> list[Diagnostic]:
        found = []
        errors, rows = uncorrected_errors(self._lib, self._handle), row_remapping(self._lib, self._handle)
        if errors is not None and errors > (self._errors or 0):
            found.append(memory_errors(errors))
        if rows != self._rows and rows is not None:
            found += row_faults(*rows)
        self._errors = errors if errors is not None else self._errors
        self._rows = rows if rows is not None else self._rows
        return found


def uncorrected_errors(lib: Any, handle: Any) -> int | None:
    """Memory errors since the driver was loaded that ECC could not correct; None where the GPU does not count."""
    try:
        kind = lib.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
        return int(lib.nvmlDeviceGetTotalEccErrors(handle, kind, lib.NVML_VOLATILE_ECC))
    except (lib.NVMLError, AttributeError):
        return None


def row_remapping(lib: Any, handle: Any) -> tuple[bool, bool] | None:
    """(a bad row waits to be replaced, one could not be replaced); None where the GPU does not say."""
    try:
        _, _, pending, failed = lib.nvmlDeviceGetRemappedRows(handle)
    except (lib.NVMLError, AttributeError, ValueError):
        return None
    return bool(pending), bool(failed)


def memory_errors(count: int) -> Diagnostic:
    """Errors that ECC saw and could not correct."""
    errors = f"{count} uncorrectable error{'s' * (count != 1)}"
    return failure("ecc", f"GPU memory has had {errors} since its last reset", RESET)


def row_faults(pending: bool, failed: bool) -> list[Diagnostic]:
    """What the state of row replacement means."""
    if failed:
        return [failure("row_remap_failed", "a bad row of GPU memory could not be replaced", LEAVE)]
    return [msgspec.structs.replace(xid(63), code="row_remap_pending", message=XIDS[63][0])] * pending
