"""Makes torch's CUDA allocator work on machines whose driver refuses segments that expand."""

import os
from collections.abc import Callable

import torch

from engine.core.memory_errors import memory_that_ran_out
from engine.events import kinds
from engine.run.stage_context import StageContext

NAMES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")  # torch reads the first of them that is set
FIXED_SEGMENTS = "expandable_segments:False"


def settle_allocator(device: str, tell: Callable[[str], None]) -> None:
    """Allocate once; where segments that expand are refused, continue without them and `tell` what that means.

    For these segments torch asks NVML, at the first allocation, how the GPU is connected. Where NVML does not answer
    (some virtual GPUs, containers without the utility capability, drivers of another version) every allocation fails.
    Raises what torch raises where they are not the cause.
    """
    if device != "cuda":
        return
    try:
        _allocate()
    except RuntimeError as error:
        if memory_that_ran_out(error) is not None or not expands():
            raise
        reason = str(error).splitlines()[0][:200]
    else:
        return
    # torch forgets all settings that are not named again: keep the user's
    torch._C._accelerator_setAllocatorSettings(f"{settings()},{FIXED_SEGMENTS}")
    _allocate()
    tell(
        "the driver refuses expandable memory segments, so memory is allocated in segments of fixed size: more of it "
        "may be lost to fragmentation near the limit. If memory runs out, lower batch.device_batch_size. Torch said: "
        f"{reason}"
    )


def settle_for_stage(context: StageContext, device: str) -> None:
    """The same for a stage, reported as a warning event."""

    def tell(message: str) -> None:
        context.emit(kinds.Warning(stage=context.stage, step=0, code="fixed_segments", message=message))

    settle_allocator(device, tell)


def settings() -> str:
    """The allocator's settings as this process was started with them."""
    return next((os.environ[name] for name in NAMES if os.environ.get(name)), "")


def expands() -> bool:
    """Whether the allocator was asked for segments that expand."""
    asked = [part.strip().partition(":")[2].strip() for part in settings().split(",") if "expandable_segments" in part]
    return bool(asked) and asked[-1] == "True"


def _allocate() -> None:
    torch.zeros(1, device="cuda")
    torch.cuda.synchronize()
