"""Tells from an error or its text whether memory ran out, and which: the GPU's or the host's. Without torch."""

import errno
import re
from collections.abc import Iterator
from typing import Literal

Memory = Literal["gpu", "host"]

_CUDA_ALLOCATION = 2  # cudaErrorMemoryAllocation, as torch.AcceleratorError carries it

_HOST = re.compile(
    r"DefaultCPUAllocator"
    r"|std::bad_alloc|\bbad_alloc\b"
    r"|\bMemoryError\b"
    r"|cannot allocate memory|can't allocate memory"  # ENOMEM, and torch on the CPU
    r"|host(?:'s)? memory ran out|out of host memory",
    re.IGNORECASE,
)

# Triton's OutOfResources ("out of resource: shared memory") is not among them: a smaller batch does not help there.
_GPU = re.compile(
    r"out of memory|OutOfMemoryError"  # torch's allocator, the CUDA runtime, kernels that are loaded, Triton
    r"|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation"
    r"|\bCU[A-Z]+_STATUS_ALLOC_FAILED"  # cuBLAS, cuDNN, cuSPARSE, cuSOLVER
    # torch's allocator asks NVML for the figures of its message and fails where NVML does not answer
    r"|NVML_SUCCESS\b.{0,200}INTERNAL ASSERT FAILED at .{0,100}CUDACachingAllocator",
    re.IGNORECASE | re.DOTALL,
)


def exhausted_memory(text: str) -> Memory | None:
    """Which memory an error message says ran out; None where it speaks of something else."""
    if _HOST.search(text):
        return "host"
    return "gpu" if _GPU.search(text) else None


def memory_that_ran_out(error: BaseException) -> Memory | None:
    """The same of an exception, or of the one that it was raised for: compilers wrap what they meet.

    Texts count in a RuntimeError only, as torch's are; others may quote anything.
    """
    for cause in _causes(error):
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM):
            return "host"
        if type(cause).__name__ == "OutOfMemoryError":  # torch's
            return "gpu"
        memory = exhausted_memory(str(cause)) if isinstance(cause, RuntimeError) else None
        if memory is None and getattr(cause, "error_code", None) == _CUDA_ALLOCATION:
            memory = "gpu"
        if memory is not None:
            return memory
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised from, then what its compiler keeps as `inner_exception`; each once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, getattr(cause, "inner_exception", None)]
