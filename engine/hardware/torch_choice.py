"""Which build of torch the install script takes: by the driver and GPU found here, TORCH_INDEX, and what is installed.

Standard library only: the script asks `python -m engine.hardware.torch_choice` before anything is installed.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from engine.hardware.drivers import CPU_WHEEL, INDEX, WHEELS, Version, Wheel, version, wheel_for

DEFAULT = "default"  # pip's own configuration: usually PyPI, which has the newest of WHEELS on Linux
AUTO = "auto"
# Gigabytes to download for torch and the libraries it needs: measured for cpu and cu130, estimated for cu126
GIGABYTES = {"cpu": 0.2, "cu126": 3.0, "cu130": 2.8}
WSL_FOLDER = "/usr/lib/wsl/lib"  # nvidia-smi under Windows, often not on PATH
KERNEL_MODULE, DEVICES = Path("/proc/driver/nvidia/version"), Path("/dev")
SMI_SECONDS = 60  # without persistence mode a host with eight GPUs takes about ten

Origin = Literal["machine", "user"]


class FoundGpu(NamedTuple):
    """The first GPU of this machine, according to the driver."""

    name: str
    driver: str
    capability: Version | None


class Choice(NamedTuple):
    """Where torch comes from: `source` is an address for pip's --index-url, or DEFAULT."""

    source: str
    by: Origin
    why: str = ""

    @property
    def tag(self) -> str:
        """The local version that the index has (2.13.0+cu126); empty where that cannot be known."""
        return tag_of(self.source)


class Refusal(Exception):
    """No build works here; the message says what to do."""


def tag_of(index: str) -> str:
    """The tag of one of PyTorch's own indexes, or of a mirror that keeps their names; empty for others."""
    last = index.rstrip("/").rpartition("/")[2]
    return last if re.fullmatch(r"cpu|cu\d{3}", last) else ""


def choose(system: str, gpu: FoundGpu | None, asked: str = "", had: Choice | None = None) -> Choice:
    """The index for this machine. `asked` is TORCH_INDEX; `had` is what was chosen when .venv was last installed.

    What is installed is kept as long as it works here. Raises Refusal where no build does.
    """
    if asked and asked != AUTO:
        return Choice(_address(asked), "user", "TORCH_INDEX asks for it")
    if had is not None and not asked and (had.by == "user" or serves(had.source, system, gpu)):
        return had._replace(why="it is installed and works here" if had.by == "machine" else "TORCH_INDEX asked for it")
    if system != "Linux":
        return Choice(DEFAULT, "machine", f"{system} has one build")
    if gpu is None:
        return Choice(CPU_WHEEL.index_url, "machine", "no NVIDIA GPU is found here")
    wheel = wheel_for(gpu.driver, gpu.capability)
    if wheel is None:
        raise Refusal(_too_old(gpu))
    if wheel is WHEELS[0]:
        return Choice(DEFAULT, "machine", f"{gpu.name}, driver {gpu.driver}")
    return Choice(wheel.index_url, "machine", f"{gpu.name}, driver {gpu.driver}; {_short_of(WHEELS[0], gpu)}")


def serves(index: str, system: str, gpu: FoundGpu | None) -> bool:
    """Whether the build from this index works on this machine, and uses its GPU."""
    if gpu is None or system != "Linux":
        return True  # a build for CUDA runs on a CPU, too
    wheels = {wheel.tag: wheel for wheel in WHEELS} | {"": WHEELS[0]}
    wheel = wheels.get(tag_of(index))
    return wheel is not None and _runs(wheel, gpu)


def _runs(wheel: Wheel, gpu: FoundGpu) -> bool:
    held = gpu.capability is None or wheel.oldest_gpu <= gpu.capability <= wheel.newest_gpu
    return held and version(gpu.driver) >= version(wheel.oldest_driver)


def _short_of(wheel: Wheel, gpu: FoundGpu) -> str:
    """Why this build does not run here."""
    cuda = ".".join(map(str, wheel.cuda))
    if version(gpu.driver) < version(wheel.oldest_driver):
        return f"the CUDA {cuda} build needs driver {wheel.oldest_driver} or newer"
    return f"the CUDA {cuda} build has no code for this GPU"


def _too_old(gpu: FoundGpu) -> str:
    on_cpu = "To use the CPU only: TORCH_INDEX=cpu bash run_single_a100.sh quickstart"
    newest = wheel_for(WHEELS[0].oldest_driver, gpu.capability)
    if newest is None:
        return f"no build of torch has code for {gpu.name}. Use a newer GPU. {on_cpu}"
    oldest = WHEELS[0] if gpu.capability is not None and gpu.capability > WHEELS[-1].newest_gpu else WHEELS[-1]
    return (
        f"{gpu.name} has driver {gpu.driver}; torch needs {oldest.oldest_driver} or newer. Update the driver on the "
        f"host (Ubuntu: sudo apt-get install nvidia-driver-580-server, then reboot), or use a machine that has it; a "
        f"container cannot bring its own. {on_cpu}"
    )


def _address(asked: str) -> str:
    """TORCH_INDEX as an address: `default`, a tag of PyTorch's, an address, or a folder."""
    if asked == DEFAULT or "://" in asked:
        return asked
    return f"{INDEX}/{asked}" if tag_of(asked) == asked else Path(asked).resolve().as_uri()


def describe(choice: Choice) -> str:
    """What is taken, how much that downloads, and why."""
    return f"torch: {_source(choice)}. Why: {choice.why}"


def _source(choice: Choice) -> str:
    tag = choice.tag or (WHEELS[0].tag if choice.source == DEFAULT and platform.system() == "Linux" else "")
    built = {CPU_WHEEL.tag: "CPU build"} | {w.tag: f"CUDA {'.'.join(map(str, w.cuda))} build" for w in WHEELS}
    what = built.get(tag, "build")
    where = (
        f"pip's default index (on PyPI the {what})" if choice.source == DEFAULT else f"the {what} of {choice.source}"
    )
    size = f", about {GIGABYTES[tag]:g} GB to download" if tag in GIGABYTES else ""
    return where + size


def find_gpu() -> FoundGpu | None:
    """The first GPU by nvidia-smi; by the kernel module where that does not run; None where there is none."""
    smi = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=WSL_FOLDER)
    for fields in ("driver_version,compute_cap,name", "driver_version,driver_version,name"):  # old ones lack the second
        line = _first_line([smi, f"--query-gpu={fields}", "--format=csv,noheader"]) if smi else ""
        parts = [part.strip() for part in line.split(",", 2)]
        if len(parts) == 3 and version(parts[0]):
            known = re.fullmatch(r"\d+\.\d+", parts[1]) and parts[1] != parts[0]
            return FoundGpu(parts[2], parts[0], version(parts[1]) if known else None)
    return _by_kernel_module()


def _by_kernel_module() -> FoundGpu | None:
    """Containers may lack nvidia-smi, and it fails while a new driver waits for a restart."""
    try:
        said = re.search(r"Module .*?(\d+\.\d+(?:\.\d+)*) ", KERNEL_MODULE.read_text())
    except OSError:
        return None
    if said is None or not any(DEVICES.glob("nvidia[0-9]*")):
        return None
    return FoundGpu("NVIDIA GPU", said[1], None)


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.splitlines() or [""])[0] if done.returncode == 0 else ""


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Print index, tag, origin, an explanation, and what pip's own configuration brings in its place (`none`: what
    does not work here), a line each.

    Arguments: index and origin of what is installed.
    """
    source, by = arguments
    had = Choice(_address(source), "user" if by == "user" else "machine") if source else None
    try:
        system, gpu = platform.system(), find_gpu()
        choice = choose(system, gpu, environment.get("TORCH_INDEX", ""), had)
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    otherwise = _source(Choice(DEFAULT, "machine")) if serves(DEFAULT, system, gpu) else "none"
    print(choice.source, choice.tag, choice.by, describe(choice), otherwise, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
