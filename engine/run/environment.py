"""The environment of every process that runs torch: what is compiled is kept in the home, threads follow the cores."""

import os

from engine.core.paths import cache_home
from engine.hardware.detect import usable_cores

MOST_COMPILE_THREADS = 32  # torch's own limit


def torch_environment(*, deterministic: bool = False) -> dict[str, str]:
    """This process' environment with what torch lacks in it. What the user has set stays.

    `deterministic`: as `runtime.deterministic` says, for cuBLAS, which asks when it starts.
    """
    mine = {
        # torch.compile's results, which are also loaded as libraries: /tmp may be mounted noexec, and goes with the
        # container
        "TORCHINDUCTOR_CACHE_DIR": str(cache_home() / "inductor"),
        # the usable cores of this machine, not all that it has
        "TORCHINDUCTOR_COMPILE_THREADS": str(min(MOST_COMPILE_THREADS, usable_cores())),
        # torch's first GPU is NVML's first, which plan and monitor are about; the default is the fastest first
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    if "TRITON_HOME" not in os.environ:
        mine["TRITON_CACHE_DIR"] = str(cache_home() / "triton")
    if "PYTORCH_ALLOC_CONF" not in os.environ:
        # fragments of freed blocks would otherwise count as out of memory at the edge
        mine["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    if deterministic:
        # https://docs.nvidia.com/cuda/cublas/index.html#results-reproducibility
        mine["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    return {**mine, **os.environ, "PYTHONUNBUFFERED": "1"}


def prepare_this_process() -> None:
    """Give this process the same environment. Call it before torch compiles or uses CUDA."""
    os.environ.update(torch_environment())
