"""What a training process says of its device: its name, its memory, and errors that mean it ran out."""

import subprocess
import sys

import pytest
import torch

from engine.device.device import device_name, is_out_of_memory

BALLAST = 700 * 2**20  # bytes: more than a process that only imports torch holds

PARENT = f"""
import subprocess, sys
held = b"x" * {BALLAST}
child = "from engine.device.device import peak_memory; print(peak_memory('cpu'))"
subprocess.run([sys.executable, "-c", child], check=True)
"""

GROWN = f"""
from engine.device.device import peak_memory
before = peak_memory("cpu")
held = b"x" * {BALLAST}
del held
print(peak_memory("cpu") - before)
"""


def _printed(program: str) -> int:
    return int(subprocess.run((sys.executable, "-c", program), check=True, capture_output=True, text=True).stdout)


def test_the_peak_of_a_process_is_not_its_parents() -> None:
    assert 2**20 < _printed(PARENT) < BALLAST


def test_the_peak_stays_when_memory_is_given_back() -> None:
    assert BALLAST * 0.9 < _printed(GROWN) < BALLAST * 1.1


@pytest.mark.parametrize(
    ("error", "device", "expected"),
    [
        (MemoryError(), "cpu", True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "cpu", True),
        (MemoryError(), "cuda", False),  # a smaller batch takes no less of the host's memory there
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "cuda", False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "cuda", True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "cuda", True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "cuda", False),
    ],
)
def test_only_the_devices_memory_is_saved_by_a_smaller_batch(error: Exception, device: str, expected: bool) -> None:
    assert is_out_of_memory(error, device) is expected


@pytest.mark.parametrize(("threads", "name"), [(1, "CPU, 1 thread"), (2, "CPU, 2 threads")])
def test_a_cpu_is_called_by_its_threads(threads: int, name: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert device_name("cpu") == name
    finally:
        torch.set_num_threads(before)
