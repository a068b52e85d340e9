"""What stands between a process and a GPU, on made-up machines: driver, libraries, device nodes, containers."""

from pathlib import Path

import pytest

from engine.hardware import gpu_access as access_module
from engine.hardware.gpu_access import (
    LOST,
    MISMATCH,
    NO_LIBRARY,
    NO_PERMISSION,
    NOT_LOADED,
    GpuAccess,
    gpu_access,
    why_no_gpu,
)
from tests.helpers.fake_nvml import FakeNvml

NODES = ("nvidia0", "nvidia-uvm", "nvidiactl")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder in place of /dev, /proc and /sys, with nothing of NVIDIA's in it."""
    for name, folder in (("DEV", "dev"), ("PROC", "proc"), ("BUS", "bus")):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(access_module, name, tmp_path / folder)
    monkeypatch.setattr(access_module, "CONTAINER_FILES", (str(tmp_path / ".dockerenv"),))
    for name in ("container", "NVIDIA_DRIVER_CAPABILITIES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def plug_in(machine: Path, vendor: str = "0x10de", kind: str = "0x030200") -> None:
    device = machine / "bus" / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text(vendor + "\n")
    (device / "class").write_text(kind + "\n")


def test_a_machine_without_a_gpu_shows_nothing(machine: Path, gpu: FakeNvml) -> None:
    gpu.fails = NO_LIBRARY
    assert gpu_access() == GpuAccess(nvml=NO_LIBRARY)
    plug_in(machine, vendor="0x8086")
    assert not gpu_access().on_bus


def test_what_is_here_is_seen(machine: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(machine)
    for name in NODES:
        (machine / "dev" / name).touch()
    (machine / "dev" / "nvidia-caps").mkdir()
    (machine / "proc" / "driver" / "nvidia").mkdir(parents=True)
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC version: 12.2.0"
    (machine / "proc" / "driver" / "nvidia" / "version").write_text(text)
    (machine / ".dockerenv").touch()
    monkeypatch.setenv("NVIDIA_DRIVER_CAPABILITIES", "utility")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    found = gpu_access()
    assert found == GpuAccess(
        visible="0", devices=1, module="570.86.15", on_bus=True, nodes=("nvidia-uvm", "nvidia0", "nvidiactl"),
        container=True, capabilities="utility",
    )  # fmt: skip
    assert (found.lacks("compute"), found.lacks("utility")) == (True, False)
    assert found.has_nodes and not found.hidden


def test_nodes_that_may_not_be_opened_are_named(machine: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NODES:
        (machine / "dev" / name).touch()
    monkeypatch.setattr(access_module.os, "access", lambda path, _mode: Path(path).name != "nvidiactl")  # root may all
    assert gpu_access().closed == ("nvidiactl",)


@pytest.mark.parametrize("state", [{"fails": NOT_LOADED}, {"lost": True}])
def test_nvml_says_why_it_fails(machine: Path, gpu: FakeNvml, state: dict[str, object]) -> None:
    for key, value in state.items():
        setattr(gpu, key, value)
    assert gpu_access().nvml == (LOST if gpu.lost else NOT_LOADED)


def test_a_gpu_in_mig_mode_without_slices_is_seen(machine: Path, gpu: FakeNvml) -> None:
    gpu.mig = True
    assert gpu_access().uncut
    gpu.slices = ["NVIDIA A100-SXM4-40GB MIG 3g.20gb"]
    assert not gpu_access().uncut


@pytest.mark.parametrize(
    ("access", "code", "says", "way"),
    [
        (GpuAccess(nvml=NO_LIBRARY), "no_gpu", "no NVIDIA GPU is visible here", "install NVIDIA's driver"),
        (GpuAccess(nvml=NO_LIBRARY, container=True), "no_gpu", "no NVIDIA GPU is visible here", "--gpus all"),
        (GpuAccess(nvml=NO_LIBRARY, on_bus=True), "no_driver", "its driver is not installed", "580.65.06 or newer"),
        (GpuAccess(nvml=NOT_LOADED), "not_loaded", "the NVIDIA driver is not loaded", "modprobe nvidia"),
        (GpuAccess(nvml=NOT_LOADED, container=True), "not_passed", "without a GPU", "--gpus all"),
        (
            GpuAccess(nvml=NO_LIBRARY, container=True, module="570.86.15"),
            "not_passed",
            "was started without a GPU",
            "--gpus all",
        ),
        (GpuAccess(nvml=MISMATCH, module="570.86.15"), "driver_mismatch", "(570.86.15) and its libraries", "machine"),
        (GpuAccess(nvml=MISMATCH, container=True), "driver_mismatch", "different versions", "Restart the container"),
        (GpuAccess(nvml=LOST), "gpu_lost", "fallen off the bus", "Use another machine"),
        (
            GpuAccess(nvml=NO_PERMISSION, nodes=NODES, closed=("nvidia0",)),
            "nodes_closed",
            "no permission to open /dev/nvidia0",
            "permission",
        ),
        (GpuAccess(nvml=NO_LIBRARY, nodes=NODES), "no_nvml", "libnvidia-ml.so.1", "Install it with the driver"),
        (
            GpuAccess(nvml=NO_LIBRARY, nodes=NODES, container=True, capabilities="compute"),
            "no_utility",
            'NVIDIA_DRIVER_CAPABILITIES = "compute" leaves out utility',
            "-e NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        ),
        (GpuAccess(visible="", devices=1), "gpu_hidden", 'CUDA_VISIBLE_DEVICES = "" hides', "Unset it"),
        (GpuAccess(visible="7", devices=1), "gpu_hidden", 'CUDA_VISIBLE_DEVICES = "7" hides', "nvidia-smi -L"),
        (GpuAccess(visible="", nvml=NO_LIBRARY), "no_gpu", "no NVIDIA GPU is visible here", "driver"),
        (GpuAccess(nvml=999), "nvml_failed", "does not respond (NVML error 999)", "nvidia-smi"),
    ],
)
def test_the_cause_is_named_with_its_way_out(access: GpuAccess, code: str, says: str, way: str) -> None:
    fault = why_no_gpu(access)
    assert fault.code == code
    assert says in fault.message and way in fault.help
