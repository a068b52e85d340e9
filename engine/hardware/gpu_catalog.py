"""The catalogue of GPUs: capacity, peak, bandwidth, and their names as NVML spells them."""

import difflib
import re

import msgspec

from engine.core.errors import UsageError
from engine.core.units import GIB


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One device to plan for. Capacities are what torch sees, not what the box says."""

    id: str
    name: str  # NVML's spelling
    capacity: int  # bytes torch can see; the CUDA context comes out of it
    peak_flops: float  # dense bfloat16 (float32 on a CPU), FLOP/s; 0: unknown
    bandwidth: float  # bytes/s
    watts: int  # board power limit
    compute_capability: tuple[int, int] = (8, 0)
    speed: float = 1.0  # share of its peak that it sustains, relative to an A100-SXM4; source in docs/time.md
    has_bf16: bool = True

    @property
    def is_cuda(self) -> bool:
        """Whether this is a CUDA device rather than the host's CPU."""
        return not self.id.startswith("cpu")

    @property
    def is_slice(self) -> bool:
        """Whether this is a MIG slice of a GPU."""
        return "mig" in self.name.lower().split()


def _gpu(
    id: str, name: str, gib: float, tflops: float, gbs: float, watts: int, cc: tuple[int, int], speed: float = 1.0
) -> Gpu:
    return Gpu(
        id=id,
        name=name,
        capacity=int(gib * GIB),
        peak_flops=tflops * 1e12,
        bandwidth=gbs * 1e9,
        watts=watts,
        compute_capability=cc,
        speed=speed,
        has_bf16=cc >= (8, 0),
    )


# Capacity: torch's total memory, the lowest seen by driver. `speed`: from published runs where there are any (A100,
# H100, RTX 4090 and 5090; docs/time.md), for the others that of their nearest relative.
CATALOGUE: tuple[Gpu, ...] = (
    _gpu("a100-40gb", "NVIDIA A100-SXM4-40GB", 39.39, 312, 1555, 400, (8, 0), 1.0),
    _gpu("a100-40gb-pcie", "NVIDIA A100-PCIE-40GB", 40441 / 1024, 312, 1555, 250, (8, 0), 0.75),
    _gpu("a100-80gb", "NVIDIA A100-SXM4-80GB", 79.15, 312, 2039, 400, (8, 0), 1.0),
    _gpu("a100-80gb-pcie", "NVIDIA A100 80GB PCIe", 79.3, 312, 1935, 300, (8, 0), 0.87),
    _gpu("a800-80gb", "NVIDIA A800-SXM4-80GB", 79.25, 312, 2039, 400, (8, 0), 1.0),
    _gpu("h100-80gb", "NVIDIA H100 80GB HBM3", 79.19, 989, 3350, 700, (9, 0), 0.7),
    _gpu("h100-80gb-pcie", "NVIDIA H100 PCIe", 79.1, 756, 2000, 350, (9, 0), 0.65),
    _gpu("h100-nvl", "NVIDIA H100 NVL", 93.1, 835, 3900, 400, (9, 0), 0.68),
    _gpu("h200", "NVIDIA H200", 139.81, 989, 4800, 700, (9, 0), 0.72),
    _gpu("b200", "NVIDIA B200", 178.35, 2250, 8000, 1000, (10, 0), 0.6),
    _gpu("l40s", "NVIDIA L40S", 44.4, 362, 864, 350, (8, 9), 0.8),
    _gpu("l4", "NVIDIA L4", 22.0, 121, 300, 72, (8, 9), 0.7),
    _gpu("a40", "NVIDIA A40", 44.35, 149.7, 696, 300, (8, 6), 1.1),
    _gpu("rtx-3090", "NVIDIA GeForce RTX 3090", 23.56, 71, 936, 350, (8, 6), 1.4),
    _gpu("rtx-4090", "NVIDIA GeForce RTX 4090", 23.5, 165.2, 1008, 450, (8, 9), 1.6),
    _gpu("rtx-5090", "NVIDIA GeForce RTX 5090", 31.4, 209.5, 1792, 575, (12, 0), 1.6),
    _gpu("v100-16gb", "Tesla V100-SXM2-16GB", 15.8, 125, 900, 300, (7, 0), 0.8),
)

# A float32 matmul on one core: 77-87 GFLOP/s with AVX2, 140 with AVX-512. The second core adds 0.6-0.9 of the first.
CPU_CORE_FLOPS = 80e9
WIDE_CPU_CORE_FLOPS = 140e9
CPU_CORE_BANDWIDTH = 20e9  # bytes/s
CPU_CORE_SHARE = 0.8  # what each core after the first adds
CPU_MEMORY_CORES = 4  # as many keep the memory busy

# MIG: `3g.20gb` is 3 of 7 compute slices, and as many of 8 memory slices as 20 GB are of the card's. A compute slice of
# an A100 has 14 of its 108 multiprocessors. Source: NVIDIA's MIG user guide, "Supported MIG Profiles".
_PROFILE = re.compile(r"\b(\d)g\.", re.IGNORECASE)
COMPUTE_SLICES, MEMORY_SLICES = 7, 8
A100_SLICE = 14 / 108


def by_id(gpu_id: str) -> Gpu:
    """Look a GPU up by its catalogue id. Raises UsageError with the nearest id."""
    for gpu in CATALOGUE:
        if gpu.id == gpu_id:
            return gpu
    ids = [gpu.id for gpu in CATALOGUE]
    near = difflib.get_close_matches(gpu_id.lower(), ids, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]}?" if near else f"Known: cpu, {', '.join(ids)}."
    raise UsageError(f'runtime.gpu = "{gpu_id}": not in the catalogue. {hint}')


def by_name(name: str, capacity: int, compute_capability: tuple[int, int] = (8, 0), usable: int | None = None) -> Gpu:
    """The entry for a device as NVML names it. `capacity`: bytes that it reports in all; `usable`: those of them that
    the driver does not keep for itself, where it says so.

    A card of the catalogue has its usable bytes, else the lowest number seen by driver. A MIG slice has its own memory
    and its share of the card's speed. A device that is not in the catalogue gets a peak of 0: memory can be planned for
    it, time cannot.
    """
    plain = _plain(name)
    if "mig" in plain.split():
        return _mig_slice(name, usable or capacity, compute_capability)
    for gpu in CATALOGUE:
        if _plain(gpu.name) == plain:
            return gpu if usable is None else msgspec.structs.replace(gpu, capacity=usable)
    return _unknown(name, usable or capacity, compute_capability)


def cpu(cores: int, capacity: int, name: str = "CPU", wide: bool = False) -> Gpu:
    """The host's own processor as a device: float32, `capacity` bytes of memory for the run; `wide`: has AVX-512."""
    core = WIDE_CPU_CORE_FLOPS if wide else CPU_CORE_FLOPS
    return Gpu(
        id="cpu",
        name=name,
        capacity=capacity,
        peak_flops=core * _cores_worth(cores),
        bandwidth=CPU_CORE_BANDWIDTH * _cores_worth(min(cores, CPU_MEMORY_CORES)),
        watts=0,
        compute_capability=(0, 0),
    )


def _cores_worth(cores: int) -> float:
    return 1 + CPU_CORE_SHARE * (cores - 1)


def _plain(name: str) -> str:
    return name.replace("NVIDIA ", "").strip().lower()


def _unknown(name: str, capacity: int, compute_capability: tuple[int, int]) -> Gpu:
    return Gpu(
        id=re.sub(r"[^a-z0-9]+", "-", _plain(name)).strip("-"),
        name=name,
        capacity=capacity,
        peak_flops=0.0,
        bandwidth=0.0,
        watts=0,
        compute_capability=compute_capability,
        has_bf16=compute_capability >= (8, 0),
    )


def _mig_slice(name: str, capacity: int, compute_capability: tuple[int, int]) -> Gpu:
    whole = next((gpu for gpu in CATALOGUE if _plain(name).startswith(f"{_plain(gpu.name)} mig")), None)
    if whole is None:
        return _unknown(name, capacity, compute_capability)
    memory = min(MEMORY_SLICES, max(1, round(MEMORY_SLICES * capacity / whole.capacity)))
    profile = _PROFILE.search(name)
    compute = int(profile[1]) if profile else min(COMPUTE_SLICES, memory)
    each = A100_SLICE if whole.id.startswith(("a100", "a800")) else 1 / COMPUTE_SLICES
    return msgspec.structs.replace(
        whole,
        id=f"{whole.id}-mig",
        name=name,
        capacity=capacity,
        peak_flops=whole.peak_flops * each * compute,
        bandwidth=whole.bandwidth * memory / MEMORY_SLICES,
    )
