"""Checks of this machine for `nanosolo doctor`: what is installed, and all that the pre-flight of a run looks at."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from engine import __version__
from engine.config.layers import from_dict
from engine.core.diagnostic import Diagnostic, checked
from engine.core.paths import presets_home
from engine.diagnostics.driver_checks import check_driver
from engine.diagnostics.machine import (
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
from engine.diagnostics.preflight import disk_need, home_origin
from engine.diagnostics.session_checks import check_session
from engine.hardware.detect import card_for, detect_cpu
from engine.hardware.probe_machine import MachineProbe, probe_machine
from engine.plan.other_card import figures_of
from engine.plan.plan import Plan
from engine.plan.presets import load_preset, preset_for
from engine.run.planning import plan_on

PACKAGES = ("torch", "textual", "tiktoken", "rustbpe", "safetensors", "huggingface_hub", "nvidia-ml-py")


def examine(look: MachineProbe | None = None) -> list[Diagnostic]:
    """Check everything that a run of the preset that `--preset auto` chooses on this machine depends on. Imports no
    torch."""
    look = look or probe_machine()
    job, plan = job_here(look)
    found = [
        *check_software(),
        *check_gpu(look),
        check_driver(look.gpu, look.torch),
        check_vram(look.gpu),
        check_card(plan),
        check_host_memory(look, plan.host_memory if look.gpu is not None else plan.peak_memory, job=job),
        check_shared_memory(look),
        check_compiler(look, cuda=True) if look.gpu is not None else None,
        check_home(look, home_origin(), disk_need(plan, look), job),
        check_home_owner(look),
        *check_caches(look),
        check_clock(look),
        check_session(look.root),
    ]
    return [check for check in found if check is not None]


def job_here(look: MachineProbe) -> tuple[str, Plan]:
    """What this machine would train, in words, and its plan."""
    gpu = look.gpu.gpu if look.gpu is not None else None
    preset = preset_for(gpu).name
    plan = plan_on(from_dict(load_preset(preset, presets_home())), gpu or detect_cpu())
    return f"a run of preset {preset}", plan


def check_card(plan: Plan) -> Diagnostic | None:
    """Where the preset for this machine names another card: what it comes to on either."""
    config = from_dict(load_preset(plan.preset, presets_home()))
    named = card_for(config, None)
    if named is None or named.id == plan.gpu or plan.gpu == "cpu":
        return None
    finding = (
        f"preset {plan.preset} on this machine's {figures_of(plan)}; it names {figures_of(plan_on(config, named))}"
    )
    action = f"nanosolo plan --preset {plan.preset} --gpu auto plans for this machine's card, as every start does"
    return checked("plan", "note", finding, action)


def check_software() -> Iterator[Diagnostic]:
    """nanosolo itself and what it cannot do without."""
    python = platform.python_version()
    yield checked("nanosolo", "ok", f"{__version__}, Python {python} on {platform.platform()}")
    for package in PACKAGES:
        try:
            yield checked(package, "ok", metadata.version(package))
        except metadata.PackageNotFoundError:
            action = f"{sys.executable} -m pip install {package}"
            yield checked(package, "error", "not installed", action)
