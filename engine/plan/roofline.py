"""How long a device needs for an amount of work: matrix products at a share of its peak, bytes over its bandwidth."""

import msgspec

from engine.hardware.gpu_catalog import Gpu
from engine.plan.work import Work


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What a device reaches of its data sheet, and what it costs to start an operation."""

    matmul: float  # share of the peak in large matrix products
    attention: float  # share of the peak in attention
    bandwidth: float  # share of the memory bandwidth
    kernel_seconds: float
    launch_seconds: float  # eager: the host starts operations no faster than this


# Fitted to the published runs in docs/time.md (bench/time.py prints the fit). 0.87 is the best matmul measured alone.
CUDA = Rates(matmul=0.86, attention=0.45, bandwidth=0.80, kernel_seconds=5e-6, launch_seconds=9e-6)
# Fitted to steps of nanosolo on one AVX-512 core (docs/time.md).
CPU = Rates(matmul=0.97, attention=0.50, bandwidth=0.80, kernel_seconds=5e-6, launch_seconds=5e-6)


def rates_of(gpu: Gpu) -> Rates:
    """The shares that hold for a device."""
    return CUDA if gpu.is_cuda else CPU


def seconds(work: Work, gpu: Gpu, rates: Rates | None = None, compiled: bool = True) -> float:
    """Predicted seconds. Compute and memory are added, not overlapped: that fits, and it makes small matrices slow.

    `gpu.speed` scales the peak: what the card sustains relative to an A100-SXM4, by power limit and generation.
    """
    rates = rates or rates_of(gpu)
    peak = gpu.peak_flops * gpu.speed
    busy = (
        work.matmul / (rates.matmul * peak)
        + work.attention / (rates.attention * peak)
        + work.moved / (rates.bandwidth * gpu.bandwidth)
        + work.kernels * rates.kernel_seconds
    )
    return busy if compiled else max(busy, work.kernels * rates.launch_seconds)
