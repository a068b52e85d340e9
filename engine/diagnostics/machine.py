"""What the probe of a machine means for training: one diagnostic per check. Pure functions."""

from collections.abc import Iterator

import msgspec

from engine.config.schema import DataConfig
from engine.core import formatting
from engine.core.diagnostic import Diagnostic, Severity, checked, refused
from engine.core.errors import UsageError
from engine.core.units import GIB, MIB
from engine.hardware.gpu_access import FORBIDDEN, ON_CPU, PROHIBITED, UNCUT, GpuAccess, why_no_gpu
from engine.hardware.gpu_fault_watch import memory_errors, row_faults
from engine.hardware.probe_machine import GpuProbe, MachineProbe
from engine.hardware.toolchain import WITHOUT
from engine.plan.stopping import short_notices

BUSY_BYTES = 500 * MIB  # of GPU memory that other programs hold; an idle card shows a few MiB
DRIVER_BYTES = 900 * MIB  # most that a driver reserves; drivers before 510 count it as used
LITTLE_HOST_MEMORY = 4 * GIB  # for a GPU: torch with CUDA alone takes two or three
LITTLE_SHARED_MEMORY = 64 * MIB
EARLIEST_CLOCK = 1_735_689_600.0  # 2025-01-01: no clock was right before this was written
CLOCK_SLACK = 86_400.0  # seconds; time zones and slow clocks are no matter


def check_gpu(look: MachineProbe) -> Iterator[Diagnostic]:
    """The GPU and its health, or why there is none."""
    found = look.gpu
    if found is None:
        fault = why_no_gpu(look.access or GpuAccess())
        severity: Severity = "note" if fault.code == "no_gpu" else "warning"
        on_cpu = f"{fault.help}; on the CPU, train with --preset quickstart"
        yield msgspec.structs.replace(fault, subject="GPU", severity=severity, help=on_cpu)
        return
    gpu = found.gpu
    if found.uncut:
        yield msgspec.structs.replace(UNCUT, subject="GPU")
        return
    known = "" if gpu.peak_flops else ", not in the catalog: times are not predicted"
    part = ", a MIG slice: the plan uses its memory and its share of the speed" if found.is_slice else ""
    yield checked("GPU", "ok", f"{gpu.name}, plans as {gpu.id}{known}{part}")
    faults = [] if found.row_remapping is None else row_faults(*found.row_remapping)
    if found.uncorrected_errors:
        faults.append(memory_errors(found.uncorrected_errors))
    for fault in faults:
        yield msgspec.structs.replace(fault, subject="GPU health", severity="warning")
    if not faults and found.uncorrected_errors is not None:
        yield checked("GPU health", "ok", "no uncorrected memory errors")
    held = [reason for reason in found.throttle if reason != "power cap"]
    if held:
        finding = f"throttled by {', '.join(held)}"
        yield checked("GPU clock", "warning", finding, "improve its cooling or power supply")


def check_no_gpu(look: MachineProbe) -> Diagnostic | None:
    """A GPU that is given to this machine and cannot be seen, where `auto` would take the CPU in its place."""
    access = look.access
    if look.gpu is not None or access is None or access.hidden or not access.has_nodes:
        return None
    fault = why_no_gpu(access)
    return checked("GPU", "error", fault.message, f"{fault.help}; {ON_CPU}")


def check_vram(found: GpuProbe | None, need: int = 0, floor: int = 0) -> Diagnostic | None:
    """Free GPU memory against the predicted peak `need`, and the part `floor` of it that no setting saves."""
    if found is None:
        return None
    idle = BUSY_BYTES + (DRIVER_BYTES if found.reserved is None else 0)
    others = f", {_others(found.processes)}" if found.processes else ""
    finding = f"{formatting.size(found.free)} of {formatting.size(found.total)} free{others}"
    wants = f"; the plan needs {formatting.size(need)}" if need else ""
    action = "end the other processes (nvidia-smi lists them), or lower batch.device_batch_size"
    if found.compute_mode == PROHIBITED:
        return msgspec.structs.replace(FORBIDDEN, subject="GPU memory")
    if floor > found.free:
        finding += f"; weights, gradients and optimizer alone take {formatting.size(floor)}"
        return checked("GPU memory", "error", finding, action)
    if need > found.free or found.held > idle:
        return checked("GPU memory", "warning", finding + wants, action)
    return checked("GPU memory", "ok", finding + wants)


def check_host_memory(look: MachineProbe, need: int = 0, floor: int = 0, job: str = "the run") -> Diagnostic:
    """The host's memory, as the container limits it, against what a job takes of it, and what it must have."""
    limit, free = look.memory_limit, look.memory_available
    bound = f", limited from {formatting.size(look.memory_total)} by the container" if limit < look.memory_total else ""
    finding = f"{look.cores} cores, {formatting.size(limit)} of memory{bound}, {formatting.size(free)} free"
    wants = f"; {job} needs about {formatting.size(need)}" if need else ""
    if floor > limit:
        return checked("host", "error", finding + wants, "use a machine with more memory")
    least = LITTLE_HOST_MEMORY if look.gpu is not None else 0
    if max(need, least) > free:
        return checked("host", "warning", finding + wants, "end other programs")
    return checked("host", "ok", finding)


def check_shared_memory(look: MachineProbe) -> Diagnostic | None:
    """/dev/shm, which containers keep small. nanosolo itself does without it."""
    if look.shared_memory is None:
        return None
    little = look.shared_memory <= LITTLE_SHARED_MEMORY
    action = "enough for nanosolo; other programs may need docker run --shm-size=1g" if little else ""
    severity: Severity = "note" if little else "ok"
    return checked("/dev/shm", severity, formatting.size(look.shared_memory), action)


def check_home(look: MachineProbe, where: str, need: int, job: str = "this run still") -> Diagnostic:
    """Whether the home can be written, and has room for the `need` bytes that a job still writes."""
    if look.home_fault:
        return refused("home", UsageError(look.home_fault))
    if look.home_owner is not None and not look.root:
        action = (
            "set NANOSOLO_HOME to a folder of your own: anyone who can write to a home can change what its users run. "
            f"NANOSOLO_DATA={look.home} then reads the data and tokenizers in it"
        )
        finding = f"{look.home} is the home of {look.home_owner}"
        return checked("home", "error", finding, action)
    finding = f"{look.home} ({where}), {formatting.size(look.disk_free)} free"
    finding += f"; {job} needs {formatting.size(need)}" if need else ""
    action = "free some space, set NANOSOLO_HOME to a folder on a larger disk, or lower checkpoint.keep_last"
    if look.disk_free < need:
        return checked("home", "error", finding, action)
    if look.disk_free < need + max(GIB, need // 10):
        return checked("home", "warning", finding + ", little is left", action)
    return checked("home", "ok", finding)


def check_home_owner(look: MachineProbe) -> Diagnostic | None:
    """A note for root in another user's home: the owner cannot change what root leaves there."""
    if look.home_owner is None or not look.root:
        return None
    finding = f"{look.home} is the home of {look.home_owner}; files that root writes there belong to root"
    action = f"set NANOSOLO_HOME to a folder of root's own, or run as {look.home_owner}"
    return checked("home owner", "note", finding, action)


def check_caches(look: MachineProbe) -> Iterator[Diagnostic]:
    """The shared caches that NANOSOLO_DATA names: what they hold, or that they cannot be read."""
    for cache in look.caches:
        if cache.fault:
            action = "mount it, make it readable, or remove it from NANOSOLO_DATA; without it, data is created again"
            finding = f"{cache.path}: {cache.fault}"
            yield checked("shared data", "warning", finding, action)
        else:
            shards = formatting.size(cache.shards)
            held = f"token sets: {cache.token_sets}, tokenizers: {cache.tokenizers}, shards: {shards}"
            yield checked("shared data", "ok", f"{cache.path} (NANOSOLO_DATA), {held}")


def check_text(data: DataConfig) -> Diagnostic:
    """Whether the text exists, judged by file names alone."""
    if data.source == "builtin":
        return checked("text", "ok", "text that comes with Python; nothing is downloaded")
    if data.source == "fineweb-edu":
        return checked("text", "ok", "missing files are downloaded from huggingface.co")
    from engine.data.corpora.local import find_files

    try:
        count = len(find_files(data.paths))
    except UsageError as error:
        return refused("text", error)
    return checked("text", "ok", f"{count:,} file{'s' * (count != 1)}")


def check_stop(seconds: float | None) -> Diagnostic | None:
    """A note where a stop takes longer than the notice that spot machines give."""
    clouds = short_notices(seconds)
    if not clouds:
        return None
    return checked(
        subject="stop",
        severity="note",
        message=f"takes about {formatting.duration(seconds)}, longer than the notice of spot machines: "
        f"{', '.join(clouds)}",
        help="on such a machine, lower batch.device_batch_size or checkpoint.every_steps: work after the last "
        "checkpoint is lost when the machine is reclaimed",
    )


def check_clock(look: MachineProbe) -> Diagnostic:
    """Whether the clock can be right: downloads fail and times mean nothing where it is not."""
    action = "set it (timedatectl, or ask the machine's administrator)"
    if look.now < EARLIEST_CLOCK:
        return checked("clock", "warning", "it shows a date before 2025", action)
    if look.newest_run is not None and look.newest_run > look.now + CLOCK_SLACK:
        finding = f"the newest run here is from {formatting.duration(look.newest_run - look.now)} in the future"
        return checked("clock", "warning", finding, action)
    return checked("clock", "ok", "plausible")


def check_compiler(look: MachineProbe, cuda: bool, without: str = "") -> Diagnostic:
    """What torch.compile needs besides torch. `without`: the predicted cost of running without it."""
    tools = look.tools
    missing = tools.missing(cuda)
    if missing:
        finding = f"torch.compile needs {' and '.join(missing)}, not found here"
        action = f"{tools.fix(cuda)}, or {WITHOUT}{without}"
        return checked("compiler", "error", finding, action)
    return checked("compiler", "ok", f"{tools.c if cuda else tools.cxx} and Python's headers")


def _others(count: int) -> str:
    return f"{count} other process{'es' * (count != 1)}"
