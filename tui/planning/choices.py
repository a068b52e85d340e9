"""The choices of presets and devices, each with a short note."""

from typing import NamedTuple

from engine.config.layers import from_dict
from engine.config.schema import RunConfig
from engine.core import formatting
from engine.core.errors import UsageError
from engine.core.paths import presets_home
from engine.hardware import gpu_catalog
from engine.hardware.detect import card_for, detect_cpu, detect_gpu
from engine.hardware.gpu_catalog import Gpu
from engine.plan.calibration import Calibration
from engine.plan.other_card import plan_for
from engine.plan.plan import Plan
from engine.plan.presets import load_preset, preset_for, preset_names
from engine.run.calibration_store import read_calibration
from tui.planning.draft import Draft
from tui.planning.formulas import time_range


class Choice(NamedTuple):
    """One choice: its key, its name, a short note and details."""

    key: str
    name: str
    note: str
    detail: str


class Here(NamedTuple):
    """The devices of this machine."""

    gpu: Gpu | None
    cpu: Gpu
    measured: dict[Gpu, Calibration]  # by device, read on demand

    @classmethod
    def look(cls) -> "Here":
        """Detect the devices."""
        return cls(detect_gpu(), detect_cpu(), {})

    def device(self, config: RunConfig) -> Gpu:
        """The device that a configuration is planned for, without detecting again."""
        return card_for(config, self.gpu) or self.cpu

    def plan(self, config: RunConfig) -> Plan:
        """The plan of a configuration for its device, corrected by measurements on this machine, with a warning if this
        machine has another GPU."""
        return plan_for(config, self.device(config), self.gpu, self.calibration)

    def calibration(self, gpu: Gpu) -> Calibration:
        """The measurements of a device on this machine."""
        if gpu not in self.measured:
            self.measured[gpu] = read_calibration(gpu)
        return self.measured[gpu]


def first_draft(here: Here) -> Draft:
    """The draft to start with if the command line gives none: the preset for the device found, on that device."""
    draft = Draft.from_preset(preset_for(here.gpu).name, presets_home())
    if here.gpu is None or draft.config.runtime.gpu == here.gpu.id:
        return draft
    return draft.on_gpu("auto")


def preset_choices(here: Here) -> list[Choice]:
    """All presets: description, and size and time on the device they name."""
    return [_preset_choice(name, here) for name in preset_names(presets_home())]


def _preset_choice(name: str, here: Here) -> Choice:
    try:
        config = from_dict(load_preset(name, presets_home()))
        gpu = here.device(config)
    except UsageError as error:
        return Choice(name, name, "cannot be used", str(error))
    plan = here.plan(config)
    note = f"{formatting.count(plan.params.total)} · {time_range(plan)} · {gpu.name.removeprefix('NVIDIA ')}"
    return Choice(name, name, note, config.about.description or "your own preset")


def gpu_choices(here: Here) -> list[Choice]:
    """The devices of this machine, then the catalog."""
    found = []
    if here.gpu is not None:
        name = here.gpu.name.removeprefix("NVIDIA ")
        found.append(Choice("auto", "this machine", f"{formatting.size(here.gpu.capacity)} · {name}", ""))
    cores = f"{formatting.size(here.cpu.capacity)} of host memory"
    found.append(Choice("cpu", "cpu", f"this machine · {cores}", ""))
    return found + [
        Choice(gpu.id, gpu.id, f"{formatting.size(gpu.capacity)} · {gpu.name.removeprefix('NVIDIA ')}", "")
        for gpu in gpu_catalog.CATALOGUE
    ]
