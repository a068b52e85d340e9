"""Which NVIDIA driver each build of torch needs, and the command that installs the right build.

Standard library only: engine/hardware/torch_choice.py asks it before anything is installed.
"""

import importlib.util
import re
import sys
from importlib import metadata
from typing import NamedTuple

Version = tuple[int, ...]
INDEX = "https://download.pytorch.org/whl"

# The oldest driver for each major version of CUDA; within one, any driver runs every build.
# https://docs.nvidia.com/cuda/cuda-toolkit-release-notes, "CUDA Toolkit and Minimum Required Driver Versions"
OLDEST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}


class Wheel(NamedTuple):
    """A build of torch in PyTorch's package index."""

    tag: str  # of the index and of the local version: 2.13.0+cu126
    cuda: Version  # empty: a build for CPUs
    oldest_gpu: Version = ()  # compute capabilities that it holds code for, both ends included
    newest_gpu: Version = ()

    @property
    def index_url(self) -> str:
        """The address for pip's --index-url."""
        return f"{INDEX}/{self.tag}"

    @property
    def oldest_driver(self) -> str:
        """The oldest driver that it runs on; empty for CPUs."""
        return OLDEST_DRIVER[self.cuda[0]] if self.cuda else ""


# Newest first. The first is what PyPI has as torch.
WHEELS = (Wheel("cu130", (13, 0), (7, 5), (12, 1)), Wheel("cu126", (12, 6), (5, 0), (9, 0)))
CPU_WHEEL = Wheel("cpu", ())


def wheel_for(driver: str, capability: Version | None = None) -> Wheel | None:
    """The newest build for this driver, and for a GPU of this compute capability; None where there is none."""
    has = version(driver)
    for wheel in WHEELS:
        held = capability is None or wheel.oldest_gpu <= capability <= wheel.newest_gpu
        if held and has >= version(wheel.oldest_driver):
            return wheel
    return None


def version(text: str) -> Version:
    """The numbers of a driver's version: 570.86.15 is (570, 86, 15)."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


def install_command(wheel: Wheel, torch: str, python: str = sys.executable, has_pip: bool = True) -> str:
    """The command that replaces the installed torch with this build of the same release, `torch` (2.13.0)."""
    pip = f"{python} -m pip install" if has_pip else f"uv pip install --python {python}"
    return f"{pip} torch=={torch.partition('+')[0]}+{wheel.tag} --index-url {wheel.index_url}"


def wanted_torch() -> str:
    """The release of torch that nanosolo asks for."""
    wanted = metadata.requires("nanosolo") or []
    return next(text.partition("==")[2] for text in wanted if text.startswith("torch=="))


def command_for(wheel: Wheel, torch: str) -> str:
    """The command that installs this build into the running Python."""
    return install_command(wheel, torch, has_pip=importlib.util.find_spec("pip") is not None)
