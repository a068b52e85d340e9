"""What is looked at before a launch: configuration, device, memory, disk, text, name. Each says ok, note or refuse."""

import shutil
from pathlib import Path
from typing import NamedTuple

from engine.errors import NanosoloError
from engine.plan.config import RunConfig
from engine.plan.gpus import GIB
from engine.plan.plan import Plan
from engine.run import words
from engine.run.directory import NAME
from engine.run.hardware import gpu_index, nvml
from engine.run.home import require_writable, runs_home
from tui.planning.choices import Here

OK, NOTE, REFUSE = "ok", "note", "refuse"
BUSY_BYTES = GIB  # of another process on the GPU


class Check(NamedTuple):
    """One thing that was looked at."""

    level: str
    what: str
    text: str


def checks(config: RunConfig, plan: Plan, here: Here, name: str) -> list[Check]:
    """All checks, in the order in which they are shown. Makes the folder of the runs where it is missing."""
    return [
        check_name(name),
        _device(config, here),
        _memory(plan),
        _disk(plan),
        *_busy(config, here),
        *_text(config),
    ]


def check_name(name: str) -> Check:
    """Whether a run of this name can be made."""
    if not NAME.fullmatch(name):
        return Check(REFUSE, "name", "use letters, digits, '.', '_' and '-', beginning with a letter or digit")
    if (runs_home() / name).exists():
        return Check(REFUSE, "name", f"a run {name} exists already; n gives another name")
    return Check(OK, "name", f"{name} is free")


def _device(config: RunConfig, here: Here) -> Check:
    planned = here.device(config)
    if not planned.is_cuda or config.runtime.device == "cpu":
        return Check(OK, "device", f"this CPU, {words.size(here.cpu.capacity)} of host memory")
    if here.gpu is None:
        way = "E writes the TOML to run it where that GPU is; d on the Plan screen takes this CPU instead"
        return Check(REFUSE, "device", f"planned for {planned.name}, but no NVIDIA GPU is visible here. {way}")
    if here.gpu.id != planned.id:
        return Check(NOTE, "device", f"planned for {planned.name}, but here is {here.gpu.name}; d plans for this one")
    return Check(OK, "device", f"{here.gpu.name} is here")


def _memory(plan: Plan) -> Check:
    memory = plan.memory
    need = f"{words.size(memory.total)} of {words.size(memory.capacity)} at the peak"
    if not memory.fits:
        return Check(NOTE, "memory", f"does not fit: {need}. f on the Plan screen applies the fix")
    return Check(OK, "memory", need)


def _disk(plan: Plan) -> Check:
    try:
        require_writable(runs_home())
    except NanosoloError as error:
        return Check(REFUSE, "disk", str(error))
    free = shutil.disk_usage(runs_home()).free
    text = f"{words.size(plan.disk_bytes)} needed, {words.size(free)} free"
    if free < plan.disk.checkpoints:
        return Check(REFUSE, "disk", f"{text}: not even the checkpoints fit. Free it, or set NANOSOLO_HOME")
    if free < plan.disk_bytes:
        return Check(NOTE, "disk", f"{text}: enough only if the text was downloaded before")
    return Check(OK, "disk", text)


def _busy(config: RunConfig, here: Here) -> list[Check]:
    """What others hold on the GPU; nothing where NVML does not say."""
    lib = nvml() if here.gpu is not None and config.runtime.device != "cpu" else None
    if lib is None:
        return []
    try:
        used = int(lib.nvmlDeviceGetMemoryInfo(lib.nvmlDeviceGetHandleByIndex(gpu_index())).used)
    except lib.NVMLError:
        return []
    if used > BUSY_BYTES:
        return [Check(NOTE, "GPU", f"{words.size(used)} are in use by another process; see nvidia-smi")]
    return [Check(OK, "GPU", "nobody else uses it")]


def _text(config: RunConfig) -> list[Check]:
    match config.data.source:
        case "local":
            missing = [path for path in config.data.paths if not _exists(path)]
            if missing:
                return [Check(REFUSE, "text", f"data.paths: {missing[0]} does not exist")]
            return [Check(OK, "text", ", ".join(config.data.paths))]
        case "fineweb-edu":
            return [Check(OK, "text", "downloaded from huggingface.co as far as it is not here")]
    return [Check(OK, "text", "the text that Python itself carries; nothing is downloaded")]


def _exists(path: str) -> bool:
    full = Path(path).expanduser().absolute()
    return full.exists() or any(True for _ in Path(full.anchor).glob(str(full.relative_to(full.anchor))))
