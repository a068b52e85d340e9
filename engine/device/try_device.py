"""Uses the device once, as training will: `python -m engine.device.try_device cuda|cpu [compile]`, one JSON line back.

Step by step, so that what fails is known: the driver's library, torch, the first allocation, Triton's first build.
"""

import ctypes
import importlib
import os
import sys

import msgspec

from engine.hardware.device_faults import Attempt

CUDA_LIBRARY = "libcuda.so.1"


def try_device(device: str, compiled: bool) -> Attempt:
    """Allocate one element on the device, run one kernel, and prepare Triton where the plan compiles."""
    attempt = _start_driver() if device == "cuda" else Attempt()
    return attempt if attempt.failed else _use_torch(device, compiled)


def _start_driver() -> Attempt:
    """Start CUDA without torch: the driver's own code says more than what torch makes of it."""
    try:
        library = ctypes.CDLL(CUDA_LIBRARY)
    except OSError as error:
        return Attempt(failed="library", error=str(error))
    code = int(library.cuInit(0))
    return Attempt(failed="driver", code=code, error=f"cuInit: error {code}") if code else Attempt()


def _use_torch(device: str, compiled: bool) -> Attempt:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Attempt(failed="import", error=_text(error))
    build = torch.version.cuda
    said = Attempt(torch=str(torch.__version__), cuda=build or "", archs=tuple(torch.cuda.get_arch_list()))
    if device == "cuda" and build is None:
        return msgspec.structs.replace(said, failed="build")
    try:
        from engine.device.allocator import settle_allocator

        torch.zeros(1, device="cpu")
        settle_allocator(device, lambda _message: None)  # the stages report what this finds
        if device == "cuda":
            torch.ones(1, device=device)  # by a kernel, which must be among those that this build has
            torch.cuda.synchronize()
    except Exception as error:  # torch's own, of many kinds
        return msgspec.structs.replace(said, failed="allocation", error=_text(error))
    if device == "cuda" and compiled:
        try:
            _prepare_triton()
        except Exception as error:  # of compilers, files and libraries, of many kinds
            return msgspec.structs.replace(said, failed="compile", error=_text(error))
    return said


def _prepare_triton() -> None:
    """Build and load what Triton needs before its first kernel: it finds compiler, headers, libcuda and cache."""
    _ = importlib.import_module("triton.runtime").driver.active.utils


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    answer = msgspec.json.encode(try_device(sys.argv[1], "compile" in sys.argv[2:]))
    sys.stdout.buffer.write(answer + b"\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of libraries must not hold up the answer
