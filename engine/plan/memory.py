"""Memory breakdown at the peak of training, whether it fits, and the checkpointing mode that results."""

from collections.abc import Iterable

import msgspec

from engine.config.schema import BatchConfig, CheckpointingMode
from engine.core.units import GIB, MIB
from engine.hardware.gpu_catalog import Gpu
from engine.plan.memory_timeline import MemoryPoint, full_timeline, phase_peaks
from engine.plan.shape import Shape

CUDA_CONTEXT = 1 * GIB  # context 0.42-0.55 GiB; the rest: cuBLAS workspaces (8 MiB; 32 on Hopper), kernels
# Reserved memory in excess of allocated memory, per checkpointing mode, with expandable segments as in runs. Measured
# with torch's allocator on the null GPU: none 0.2-0.6 %, selective 1.4 %, block 3.2-4.8 % (docs/memory.md).
ALLOCATOR_SLACK: dict[CheckpointingMode, float] = {"none": 0.03, "selective": 0.03, "block": 0.05}
CPU_PROCESS = 600 * MIB  # torch's libraries, the interpreter, and memory pools after a step
CPU_EVALUATION = 350 * MIB  # the same without training: 244 and 367 were measured
SAFE_HEADROOM = 0.08  # share of the capacity; a plan that fits with less is called tight

CHECKPOINTING_MODES: tuple[CheckpointingMode, ...] = ("none", "selective", "block")  # fastest first

COMPONENTS = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "loss",
    "overhead",
)  # in the order of the stacked bars


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The breakdown at the peak, in bytes, and whether it fits."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    overhead: int  # CUDA context, cuBLAS, allocator slack (on a CPU: the process, and the copy for checkpoints)
    total: int
    capacity: int
    fits: bool
    headroom: float  # share of the capacity left; negative when it does not fit
    peak_phase: str  # name of the point with the peak
    phases: dict[str, int]  # phase -> bytes at its peak, without overhead
    basis: str


def estimate(shape: Shape, batch: BatchConfig, gpu: Gpu, compiled: bool) -> Memory:
    """The breakdown for one configuration on one device. Checkpointing `auto` is resolved for that device."""
    return _estimate(shape, batch, gpu, compiled, resolve_checkpointing(shape, batch, gpu, compiled))


def resolve_checkpointing(shape: Shape, batch: BatchConfig, gpu: Gpu, compiled: bool) -> CheckpointingMode:
    """The configured mode; for `auto`, the fastest one that leaves SAFE_HEADROOM, else `block`."""
    if batch.activation_checkpointing != "auto":
        return batch.activation_checkpointing
    for mode in CHECKPOINTING_MODES:
        if _estimate(shape, batch, gpu, compiled, mode).headroom >= SAFE_HEADROOM:
            return mode
    return "block"


def peak_by_mode(shape: Shape, batch: BatchConfig, gpu: Gpu, compiled: bool) -> dict[CheckpointingMode, Memory]:
    """The breakdown in every checkpointing mode, regardless of the configuration."""
    return {mode: _estimate(shape, batch, gpu, compiled, mode) for mode in CHECKPOINTING_MODES}


def _estimate(shape: Shape, batch: BatchConfig, gpu: Gpu, compiled: bool, mode: CheckpointingMode) -> Memory:
    return breakdown(full_timeline(shape, batch, mode, gpu.is_cuda, compiled), gpu, compiled, mode)


def breakdown(
    timeline: Iterable[MemoryPoint], gpu: Gpu, compiled: bool, mode: CheckpointingMode = "none", saves: bool = True
) -> Memory:
    """The breakdown at the peak of a timeline, with overhead. `saves`: whether checkpoints are written."""
    points = list(timeline)
    peak = max(points, key=lambda point: point.total)
    if gpu.is_cuda:
        overhead = CUDA_CONTEXT + int(ALLOCATOR_SLACK[mode] * peak.total)
    else:  # including a copy of the state, from which checkpoints are written while training continues
        overhead = CPU_PROCESS + peak.weights + peak.optimizer if saves else CPU_EVALUATION
    total = peak.total + overhead
    kind = f"{'compiled' if compiled else 'eager'} {'bfloat16' if gpu.is_cuda else 'float32'}"
    where = "on this card" if gpu.is_cuda else "here"
    return Memory(
        weights=peak.weights,
        gradients=peak.gradients,
        optimizer=peak.optimizer,
        activations=peak.activations,
        loss=peak.loss,
        overhead=overhead,
        total=total,
        capacity=gpu.capacity,
        fits=total <= gpu.capacity,
        headroom=1 - total / gpu.capacity,
        peak_phase=peak.name,
        phases=phase_peaks(points),
        basis=f"formula for {kind} {'training' if saves else 'evaluation'}, not yet measured {where}",
    )
