"""What a look at the machine means for training: one finding a check, with what to do about it. Pure functions."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from engine.config.schema import DataConfig
from engine.core import formatting
from engine.core.errors import UsageError
from engine.core.units import GIB, MIB
from engine.hardware.gpu_access import FORBIDDEN, ON_CPU, PROHIBITED, UNCUT, GpuAccess, why_no_gpu
from engine.hardware.gpu_fault_watch import memory_errors, row_faults
from engine.hardware.probe_machine import GpuSurvey, Survey
from engine.hardware.toolchain import WITHOUT
from engine.plan.stopping import short_notices

Level = Literal["ok", "note", "warning", "problem"]  # problem: training cannot work

BUSY_BYTES = 500 * MIB  # of GPU memory that other programs hold; an idle card shows a few MiB
DRIVER_BYTES = 900 * MIB  # most that a driver keeps for itself, and counts as used where it does not say (before 510)
LITTLE_HOST_MEMORY = 4 * GIB  # for a GPU: torch with CUDA alone takes two or three
LITTLE_SHARED_MEMORY = 64 * MIB
EARLIEST_CLOCK = 1_735_689_600.0  # 2025-01-01: no clock was right before this was written
CLOCK_SLACK = 86_400.0  # seconds; time zones and slow clocks are no matter


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One finding."""

    name: str
    verdict: Level
    finding: str
    action: str = ""


def problem_of(name: str, error: Exception) -> Check:
    """A refusal as a finding: its first sentence, and what to do about it."""
    finding, _, action = str(error).partition(". ")
    return Check(name=name, verdict="problem", finding=finding.rstrip("."), action=action)


def check_gpu(look: Survey) -> Iterator[Check]:
    """Which GPU there is, and what it says of its own health; why there is none."""
    found = look.gpu
    if found is None:
        fault = why_no_gpu(look.access or GpuAccess())
        verdict: Level = "note" if fault.code == "no_gpu" else "warning"
        action = f"{fault.action}; on the CPU, train with --preset quickstart"
        yield Check(name="GPU", verdict=verdict, finding=fault.what, action=action)
        return
    gpu = found.gpu
    if found.uncut:
        yield Check(name="GPU", verdict="problem", finding=UNCUT.what, action=UNCUT.action)
        return
    known = "" if gpu.peak_flops else ", not in the catalogue: its times are not predicted"
    part = ", a MIG slice: planned with its own memory and its share of the speed" if found.is_slice else ""
    yield Check(name="GPU", verdict="ok", finding=f"{gpu.name}, plans as {gpu.id}{known}{part}")
    faults = [] if found.row_remapping is None else row_faults(*found.row_remapping)
    if found.uncorrected_errors:
        faults.append(memory_errors(found.uncorrected_errors))
    for fault in faults:
        yield Check(name="GPU health", verdict="warning", finding=fault.what, action=fault.action)
    if not faults and found.uncorrected_errors is not None:
        yield Check(name="GPU health", verdict="ok", finding="no uncorrected memory errors")
    held = [reason for reason in found.throttle if reason != "power cap"]
    if held:
        finding = f"held below its clock by {', '.join(held)}"
        yield Check(name="GPU clock", verdict="warning", finding=finding, action="improve its cooling or power supply")


def check_no_gpu(look: Survey) -> Check | None:
    """A GPU that is given to this machine and cannot be seen, where `auto` would take the CPU in its place."""
    access = look.access
    if look.gpu is not None or access is None or access.hidden or not access.has_nodes:
        return None
    fault = why_no_gpu(access)
    return Check(name="GPU", verdict="problem", finding=fault.what, action=f"{fault.action}; {ON_CPU}")


def check_vram(found: GpuSurvey | None, need: int = 0, floor: int = 0) -> Check | None:
    """Free GPU memory against the predicted peak `need`, and the part `floor` of it that no setting saves."""
    if found is None:
        return None
    idle = BUSY_BYTES + (DRIVER_BYTES if found.reserved is None else 0)
    others = f", {_others(found.processes)}" if found.processes else ""
    finding = f"{formatting.size(found.free)} of {formatting.size(found.total)} free{others}"
    wants = f"; the plan needs {formatting.size(need)}" if need else ""
    action = "end the other processes (nvidia-smi lists them), or lower batch.device_batch_size"
    if found.compute_mode == PROHIBITED:
        return Check(name="GPU memory", verdict="problem", finding=FORBIDDEN.what, action=FORBIDDEN.action)
    if floor > found.free:
        finding += f"; weights, gradients and optimizer alone take {formatting.size(floor)}"
        return Check(name="GPU memory", verdict="problem", finding=finding, action=action)
    if need > found.free or found.held > idle:
        return Check(name="GPU memory", verdict="warning", finding=finding + wants, action=action)
    return Check(name="GPU memory", verdict="ok", finding=finding + wants)


def check_host_memory(look: Survey, need: int = 0, floor: int = 0, job: str = "the run") -> Check:
    """The host's memory, as the container limits it, against what a job takes of it, and what it must have."""
    limit, free = look.memory_limit, look.memory_available
    bound = f", limited from {formatting.size(look.memory_total)} by the container" if limit < look.memory_total else ""
    finding = f"{look.cores} cores, {formatting.size(limit)} of memory{bound}, {formatting.size(free)} free"
    wants = f"; {job} needs about {formatting.size(need)}" if need else ""
    if floor > limit:
        return Check(name="host", verdict="problem", finding=finding + wants, action="take a machine with more memory")
    least = LITTLE_HOST_MEMORY if look.gpu is not None else 0
    if max(need, least) > free:
        return Check(name="host", verdict="warning", finding=finding + wants, action="end other programs")
    return Check(name="host", verdict="ok", finding=finding)


def check_shared_memory(look: Survey) -> Check | None:
    """/dev/shm, which containers keep small. nanosolo itself does without it."""
    if look.shared_memory is None:
        return None
    little = look.shared_memory <= LITTLE_SHARED_MEMORY
    action = "enough for nanosolo; other programs may need docker run --shm-size=1g" if little else ""
    verdict: Level = "note" if little else "ok"
    return Check(name="/dev/shm", verdict=verdict, finding=formatting.size(look.shared_memory), action=action)


def check_home(look: Survey, where: str, need: int, job: str = "this run still") -> Check:
    """Whether the home can be written, and has room for the `need` bytes that a job still writes."""
    if look.home_fault:
        return problem_of("home", UsageError(look.home_fault))
    if look.home_owner is not None and not look.root:
        action = (
            "set NANOSOLO_HOME to a folder of your own: who can write to a home can change what its other users run. "
            f"NANOSOLO_DATA={look.home} then reads the data and tokenizers in it"
        )
        finding = f"{look.home} is the home of {look.home_owner}"
        return Check(name="home", verdict="problem", finding=finding, action=action)
    finding = f"{look.home} ({where}), {formatting.size(look.disk_free)} free"
    finding += f"; {job} needs {formatting.size(need)}" if need else ""
    action = "free some space, set NANOSOLO_HOME to a folder on a larger disk, or lower checkpoint.keep_last"
    if look.disk_free < need:
        return Check(name="home", verdict="problem", finding=finding, action=action)
    if look.disk_free < need + max(GIB, need // 10):
        return Check(name="home", verdict="warning", finding=finding + ", which leaves little", action=action)
    return Check(name="home", verdict="ok", finding=finding)


def check_home_owner(look: Survey) -> Check | None:
    """A note for root in another user's home: the owner cannot change what root leaves there."""
    if look.home_owner is None or not look.root:
        return None
    finding = f"{look.home} is the home of {look.home_owner}; what root writes there stays root's"
    action = f"set NANOSOLO_HOME to a folder of root's own, or run as {look.home_owner}"
    return Check(name="home owner", verdict="note", finding=finding, action=action)


def check_caches(look: Survey) -> Iterator[Check]:
    """The shared caches that NANOSOLO_DATA names: what they hold, or that they cannot be read."""
    for cache in look.caches:
        if cache.fault:
            action = "mount it or make it readable, or take it out of NANOSOLO_DATA; without it, data is made again"
            finding = f"{cache.path}: {cache.fault}"
            yield Check(name="shared data", verdict="warning", finding=finding, action=action)
        else:
            shards = formatting.size(cache.shards)
            held = f"token sets: {cache.token_sets}, tokenizers: {cache.tokenizers}, shards: {shards}"
            yield Check(name="shared data", verdict="ok", finding=f"{cache.path} (NANOSOLO_DATA), {held}")


def check_text(data: DataConfig) -> Check:
    """Whether the text is here, as far as a look at names tells."""
    if data.source == "builtin":
        return Check(name="text", verdict="ok", finding="what Python itself carries; nothing is downloaded")
    if data.source == "fineweb-edu":
        return Check(name="text", verdict="ok", finding="downloaded from huggingface.co as far as it is not here")
    from engine.data.corpora.local import find_files

    try:
        count = len(find_files(data.paths))
    except UsageError as error:
        return problem_of("text", error)
    return Check(name="text", verdict="ok", finding=f"{count:,} file{'s' * (count != 1)}")


def check_stop(seconds: float | None) -> Check | None:
    """Whether a stop ends within the notice that spot machines give; nothing to say where it does."""
    clouds = short_notices(seconds)
    if not clouds:
        return None
    return Check(
        name="stop",
        verdict="note",
        finding=f"takes about {formatting.duration(seconds)}, longer than the notice of spot machines: "
        f"{', '.join(clouds)}",
        action="on such a machine lower batch.device_batch_size or checkpoint.every_steps: what follows the last "
        "checkpoint is lost when it goes",
    )


def check_clock(look: Survey) -> Check:
    """Whether the clock can be right: downloads fail and times mean nothing where it is not."""
    action = "set it (timedatectl, or ask who runs the machine)"
    if look.now < EARLIEST_CLOCK:
        return Check(name="clock", verdict="warning", finding="it stands before 2025", action=action)
    if look.newest_run is not None and look.newest_run > look.now + CLOCK_SLACK:
        finding = f"the newest run here is from {formatting.duration(look.newest_run - look.now)} in the future"
        return Check(name="clock", verdict="warning", finding=finding, action=action)
    return Check(name="clock", verdict="ok", finding="plausible")


def check_compiler(look: Survey, cuda: bool, without: str = "") -> Check:
    """What torch.compile needs besides torch. `without`: what it costs to do without, as predicted."""
    tools = look.tools
    missing = tools.missing(cuda)
    if missing:
        finding = f"torch.compile needs {' and '.join(missing)}, not found here"
        action = f"{tools.fix(cuda)}, or {WITHOUT}{without}"
        return Check(name="compiler", verdict="problem", finding=finding, action=action)
    return Check(name="compiler", verdict="ok", finding=f"{tools.c if cuda else tools.cxx} and Python's headers")


def _others(count: int) -> str:
    return f"{count} other process{'es' * (count != 1)}"
