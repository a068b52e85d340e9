"""Read the counters of the null GPU, of torch's compiler and of torch's allocator, in this process."""

import ctypes
import sys

# In the order of nullgpu_counter in src/device.h.
NAMES = (
    "kernels",
    "triton",
    "gemms",
    "stream_syncs",
    "device_syncs",
    "event_syncs",
    "blocking",
    "pageable",
)


def read() -> dict[str, int]:
    """All counts since the process began: of the device, `graphs` that dynamo compiled and graph `breaks`, and bytes
    that torch's allocator holds."""
    return {**_device(), **_compiler(), **_allocator()}


def _device() -> dict[str, int]:
    values = (ctypes.c_long * len(NAMES)).in_dll(ctypes.CDLL(None), "nullgpu_counters")
    return dict(zip(NAMES, values, strict=True))


def _compiler() -> dict[str, int]:
    if "torch._dynamo" not in sys.modules:
        return {"graphs": 0, "breaks": 0}
    from torch._dynamo.utils import counters

    return {"graphs": int(counters["stats"]["unique_graphs"]), "breaks": sum(counters["graph_break"].values())}


def _allocator() -> dict[str, int]:
    import torch

    if not torch.cuda.is_initialized():
        return {"allocated": 0, "reserved": 0}
    return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
