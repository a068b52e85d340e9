"""Whether the device that a plan is for can be used: by the configuration, and by trying it in a process of its own.

The attempt imports torch there and allocates one element: seconds, before anything is downloaded.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Literal

import msgspec

from engine.config.schema import RunConfig
from engine.core.atomic_io import NOT_JSON
from engine.core.diagnostic import Diagnostic, checked
from engine.core.errors import UsageError
from engine.hardware import gpu_catalog
from engine.hardware.gpu_access import gpu_access, why_no_gpu
from engine.hardware.gpu_catalog import Gpu
from engine.hardware.probe_machine import GpuProbe, probe_gpu
from engine.hardware.toolchain import find_toolchain
from engine.plan.plan import Plan
from engine.run.environment import torch_environment

if TYPE_CHECKING:  # imported where a device is tried: who only plans need not wait for it
    from engine.hardware.device_faults import Attempt

Device = Literal["cuda", "cpu"]
Announce = Callable[[str], None]

ON_DEVICE = frozenset(("pretrain", "evaluate", "midtrain", "sft", "rl", "chat_eval"))  # the stages that use torch
ATTEMPT_TIMEOUT = 180.0  # seconds; a first import from a slow disk takes a minute
REMEMBERED = 300.0  # seconds before a device that worked is tried again
ANNOUNCEMENT = "checking the device ..."

_NAMES: dict[Device, str] = {"cuda": "CUDA", "cpu": "torch"}  # of the check
_worked: dict[tuple[str, bool], float] = {}  # what was tried -> when, of time.monotonic
_trying = threading.Lock()  # other callers wait for the answer


def require_device(config: RunConfig, found: Gpu | None) -> None:
    """Raises UsageError with the cause and the fixes where the configuration asks for a GPU and none was `found`."""
    if config.runtime.gpu not in ("auto", "cpu"):
        gpu_catalog.by_id(config.runtime.gpu)
    wants_gpu = config.runtime.device == "cuda" or (
        config.runtime.device == "auto" and config.runtime.gpu not in ("auto", "cpu")
    )
    if wants_gpu and found is None:
        fault = why_no_gpu(gpu_access())
        runtime = config.runtime
        asked = f'runtime.gpu = "{runtime.gpu}"' if runtime.gpu not in ("auto", "cpu") else 'runtime.device = "cuda"'
        raise UsageError(
            f"{asked}: {fault.message}. {fault.help}; or train on this CPU with "
            "--preset quickstart, or force the CPU with --gpu cpu."
        )


def be_silent(_text: str) -> None:
    """For callers that show no progress."""


def check_device(
    config: RunConfig, plan: Plan, stages: Collection[str], announce: Announce = be_silent
) -> Diagnostic | None:
    """Try the device of a plan, where one of the stages uses it; None where none does, and where a failure would cost
    nothing: on a CPU without anything to download first.

    A success is remembered for some minutes, a failure never. Takes seconds: call it in a thread. `announce` is called
    before it begins.
    """
    device: Device = "cpu" if plan.gpu == "cpu" else "cuda"
    downloads = "data" in stages and config.data.source == "fineweb-edu"
    if not ON_DEVICE.intersection(stages) or (device == "cpu" and not downloads):
        return None
    with _trying:
        compiled = plan.compiled and plan.trains
        key = (device, compiled)
        if time.monotonic() - _worked.get(key, -REMEMBERED) < REMEMBERED:
            return _works(device, plan.gpu_name)
        announce(ANNOUNCEMENT)
        fault = device_fault(device, compiled)
        if fault is None:
            _worked[key] = time.monotonic()
            return _works(device, plan.gpu_name)
    return _failed(device, fault)


def device_here(gpu: GpuProbe) -> Diagnostic:
    """Try the GPU of this machine, as a plan with torch.compile would use it."""
    fault = device_fault("cuda", compiled=True)
    return _works("cuda", gpu.gpu.name) if fault is None else _failed("cuda", fault)


def device_fault(device: Device, compiled: bool) -> Diagnostic | None:
    """Try the device now; None where it works."""
    from engine.hardware.device_faults import explain

    attempt = attempt_in_a_process(device, compiled)
    return explain(attempt, gpu_access(), probe_gpu(), find_toolchain()) if attempt.failed else None


def attempt_in_a_process(device: Device, compiled: bool) -> "Attempt":
    """Run the attempt in a process of its own; returns how far it got."""
    from engine.hardware.device_faults import Attempt

    command = [sys.executable, "-m", "engine.device.try_device", device, *(["compile"] if compiled else [])]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ATTEMPT_TIMEOUT,
            check=False,
            env=torch_environment(),
        )
    except subprocess.TimeoutExpired:
        return Attempt(failed="too_slow", error=f"nothing for {ATTEMPT_TIMEOUT:.0f} s")
    said = done.stderr.decode(errors="replace").strip()
    try:
        attempt = msgspec.json.decode(done.stdout.splitlines()[-1], type=Attempt)
    except (IndexError, *NOT_JSON):
        if done.returncode < 0:
            return Attempt(failed="killed", code=-done.returncode, error=said)
        return Attempt(failed="import", error=said.splitlines()[-1] if said else f"exit code {done.returncode}")
    if attempt.failed == "compile":  # the compiler's own output comes before Triton's
        attempt = msgspec.structs.replace(attempt, error=f"{said}\n{attempt.error}")
    return attempt


def _works(device: Device, name: str) -> Diagnostic:
    return checked(_NAMES[device], "ok", f"torch can use {name}")


def _failed(device: Device, fault: Diagnostic) -> Diagnostic:
    return msgspec.structs.replace(fault, subject=_NAMES[device], severity="error")
