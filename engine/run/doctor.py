"""Checks of this machine for `nanosolo doctor`: what is installed, and all that the pre-flight of a run looks at."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from engine import __version__
from engine.plan.layers import from_dict
from engine.plan.plan import Plan, make_plan
from engine.plan.presets import load_preset, preset_for
from engine.run.checks import (
    Check,
    check_caches,
    check_clock,
    check_compiler,
    check_gpu,
    check_home,
    check_home_owner,
    check_host_memory,
    check_shared_memory,
    check_vram,
)
from engine.run.driver_checks import check_driver
from engine.run.hardware import detect_cpu
from engine.run.preflight import CUDA_HOST_BYTES, disk_need, home_origin
from engine.run.survey import Survey, survey

PACKAGES = ("torch", "textual", "tiktoken", "rustbpe", "safetensors", "huggingface_hub", "nvidia-ml-py")


def examine(look: Survey | None = None) -> list[Check]:
    """Look at everything that a run here depends on: the run of the preset that `--preset auto` chooses on this
    machine. Imports no torch."""
    look = look or survey()
    job, plan = job_here(look)
    host_need = CUDA_HOST_BYTES + plan.checkpoint_bytes if look.gpu is not None else plan.peak_memory
    found = [
        *check_software(),
        *check_gpu(look),
        check_driver(look.gpu, look.torch),
        check_vram(look.gpu),
        check_host_memory(look, host_need, job=job),
        check_shared_memory(look),
        check_compiler(look, cuda=True) if look.gpu is not None else None,
        check_home(look, home_origin(), disk_need(plan, look), job),
        check_home_owner(look),
        *check_caches(look),
        check_clock(look),
    ]
    return [check for check in found if check is not None]


def job_here(look: Survey) -> tuple[str, Plan]:
    """What this machine would train, in words, and its plan."""
    gpu = look.gpu.gpu if look.gpu is not None else None
    preset = preset_for(gpu).name
    plan = make_plan(from_dict(load_preset(preset)), gpu or detect_cpu())
    return f"a run of preset {preset}", plan


def check_software() -> Iterator[Check]:
    """nanosolo itself and what it cannot do without."""
    python = platform.python_version()
    yield Check(name="nanosolo", verdict="ok", finding=f"{__version__}, Python {python} on {platform.platform()}")
    for package in PACKAGES:
        try:
            yield Check(name=package, verdict="ok", finding=metadata.version(package))
        except metadata.PackageNotFoundError:
            action = f"{sys.executable} -m pip install {package}"
            yield Check(name=package, verdict="problem", finding="not installed", action=action)
