"""Every way in which memory runs out is known by its error or its text, the GPU's apart from the host's."""

import errno

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import InductorError

from engine.core.memory_errors import Memory, exhausted_memory, memory_that_ran_out

# as torch 2.13 and its libraries write them
NVML_ASSERTION = (
    "NVML_SUCCESS == DriverAPI::get()->nvmlInit_v2_() INTERNAL ASSERT FAILED at "
    '"/__w/pytorch/pytorch/c10/cuda/CUDACachingAllocator.cpp":1377, please report a bug to PyTorch. '
)
NVML_AT_THE_FIRST_ALLOCATION = NVML_ASSERTION.replace("CUDACachingAllocator", "PeerToPeerAccess")
RUNTIME = (
    "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://docs.nvidia.com/ for more "
    "information.\nFor more detailed error information, run with CUDA_LOG_FILE=stderr\n"
)
ON_THE_CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "140737488355328 bytes. Error code 12 (Cannot allocate memory)"
)
SHARED_MEMORY = (
    "out of resource: shared memory, Required: 180224, Hardware limit: 101376. Reducing block sizes or `num_stages` "
    "may help."
)


def raised_for(error: Exception, cause: Exception) -> Exception:
    try:
        raise error from cause
    except Exception as found:
        return found


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 39.39 GiB", "gpu"),
        ("Out of Memory", "gpu"),
        (RUNTIME, "gpu"),
        ("CUDA driver error: out of memory", "gpu"),
        ("Triton Error [CUDA]: out of memory", "gpu"),
        ("cuModuleLoadData failed with CUDA_ERROR_OUT_OF_MEMORY", "gpu"),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "gpu"),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "gpu"),
        (NVML_ASSERTION, "gpu"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "host"),
        (ON_THE_CPU, "host"),
        ("MemoryError", "host"),
        ("OSError: [Errno 12] Cannot allocate memory", "host"),
        (NVML_AT_THE_FIRST_ALLOCATION, None),
        (SHARED_MEMORY, None),
        ("CUDA error: an illegal memory access was encountered", None),
        ("CUDA error: too many resources requested for launch", None),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`", None),
        ("", None),
    ],
)
def test_texts(text: str, memory: Memory | None) -> None:
    assert exhausted_memory(text) == memory
    assert memory_that_ran_out(RuntimeError(text)) == memory
    assert memory_that_ran_out(torch.AcceleratorError(text)) == memory
    assert memory_that_ran_out(InductorError(RuntimeError(text), None)) == memory
    assert memory_that_ran_out(BackendCompilerFailed(lambda: None, RuntimeError(text), None)) == memory
    assert memory_that_ran_out(raised_for(TypeError("a wrapper"), RuntimeError(text))) == memory
    assert memory_that_ran_out(ValueError(text)) is None  # its words may be anybody's


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError(), "gpu"),
        (MemoryError(), "host"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "host"),
        (OSError(errno.ENOSPC, "No space left on device"), None),
        (InductorError(MemoryError(), None), "host"),
        (KeyError("out of memory"), None),
    ],
)
def test_kinds(error: Exception, memory: Memory | None) -> None:
    assert memory_that_ran_out(error) == memory


def test_an_error_code_of_cuda_counts_whatever_its_text() -> None:
    error = RuntimeError("CUDA error: kein Speicher mehr")
    error.error_code = 2  # type: ignore[attr-defined]
    assert memory_that_ran_out(error) == "gpu"


def test_errors_that_were_raised_for_each_other_end_the_search() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert memory_that_ran_out(one) is None
