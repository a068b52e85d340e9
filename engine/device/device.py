"""The torch side of the machine: which device, its memory, and whether an error means out of memory."""

import resource
import sys
from pathlib import Path

import torch

from engine.config.schema import RunConfig
from engine.core.errors import UsageError
from engine.core.memory_errors import memory_that_ran_out
from engine.diagnostics.device_checks import device_fault
from engine.hardware.detect import detect_gpu, memory_limit
from engine.plan.plan import Plan
from engine.run.cpu_threads import free_threads


def choose_device(config: RunConfig, plan: Plan | None = None) -> str:
    """`cuda` or `cpu`, as configured; `auto` takes CUDA where torch sees it and the plan is not for the CPU.

    Raises UsageError with the cause where CUDA is asked for, or the plan is for a GPU, and torch cannot use it: never
    the CPU in its place. `plan`: the run's, if it has one.
    """
    runtime = config.runtime
    if runtime.device == "cpu" or (runtime.device == "auto" and runtime.gpu == "cpu"):
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    planned = runtime.gpu != "auto" or (plan is not None and plan.gpu != "cpu") or detect_gpu() is not None
    if runtime.device == "auto" and not planned:
        return "cpu"
    fault = device_fault("cuda", compiled=False)
    cause = f"{fault}" if fault is not None else "torch sees no CUDA device. Start it again."
    raise UsageError(f"this run is for a GPU: {cause} To train on the CPU: --set runtime.gpu=cpu")


def prepare_device(config: RunConfig, plan: Plan | None = None) -> str:
    """Set torch up for the chosen device and return its name. Raises UsageError where it cannot be used."""
    device = choose_device(config, plan)
    torch.set_num_threads(config.runtime.threads or free_threads())
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.cuda.set_device(0)
        if config.runtime.deterministic:
            _be_deterministic()
    return device


def _be_deterministic() -> None:
    """Take only kernels that add in the same order every time; what has none raises RuntimeError.

    Flash attention's backward then adds without atomics, and the embedding's gradient is sorted first, eager and
    compiled; other attention backends are not chosen, as flash is. cuBLAS keeps to it by CUBLAS_WORKSPACE_CONFIG,
    which is set before torch starts (`torch_environment`).
    """
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only finds bugs


def device_name(device: str) -> str:
    """What the device calls itself."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads != 1)}"


def peak_memory(device: str) -> int:
    """Largest memory so far in bytes: allocated by torch on CUDA (since the last reset), resident on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return _largest_resident()


def _largest_resident() -> int:
    """Bytes. Not `ru_maxrss` where Linux knows better: it starts at what the parent held before exec."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def capacity(device: str) -> int:
    """Bytes that this process may use on the device."""
    return torch.cuda.mem_get_info()[1] if device == "cuda" else memory_limit()


def is_out_of_memory(error: BaseException, device: str) -> bool:
    """Whether the memory that a smaller batch takes less of ran out: the device's, not that of a GPU's host."""
    memory = memory_that_ran_out(error)
    return memory == "gpu" or (memory == "host" and device == "cpu")


def release_memory(device: str) -> None:
    """Give cached blocks back, so that other sizes can be allocated."""
    if device == "cuda":
        torch.cuda.empty_cache()
