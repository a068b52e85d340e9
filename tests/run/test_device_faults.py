"""Why a device cannot be used: CUDA's numbers and torch's words, together with what the machine shows."""

import pytest

from engine.core.diagnostic import Diagnostic
from engine.hardware.device_faults import Attempt, cuda_code, explain
from engine.hardware.gpu_access import NO_LIBRARY, GpuAccess
from engine.hardware.probe_machine import probe_gpu
from engine.hardware.toolchain import Toolchain
from tests.helpers.fake_nvml import FakeNvml

TOOLS = Toolchain("/usr/bin/gcc", "/usr/bin/g++", headers=True)
NODES = ("nvidia-uvm", "nvidia0", "nvidiactl")
HERE = GpuAccess(devices=1, nodes=NODES)


def fault_of(access: GpuAccess = HERE, **attempt: object) -> Diagnostic:
    given = {"failed": "allocation", "torch": "2.13.0+cu130", "cuda": "13.0", "archs": ("sm_80",), **attempt}
    return explain(Attempt(**given), access, probe_gpu(), TOOLS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized", 802),
        ("Error 803: system has unsupported display driver / cuda driver combination", 803),
        ("RuntimeError: Found no NVIDIA driver on your system.", 100),
        ("RuntimeError: No CUDA GPUs are available", 100),
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 12080).", 35),
        ("AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or unavailable", 46),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB.", 2),
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", 209),
        ("RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment", 999),
        ("RuntimeError: CUDA driver initialization failed, you might not have a CUDA gpu.", 3),
        ("RuntimeError: something else", 0),
    ],
)
def test_torchs_words_mean_cudas_numbers(text: str, code: int) -> None:
    assert cuda_code(Attempt(failed="allocation", error=text)) == code


@pytest.mark.parametrize(
    ("number", "state", "access", "code", "says"),
    [
        (100, {"mig": True}, HERE._replace(uncut=True), "mig_without_slices", "in MIG mode without any slice"),
        (100, {}, HERE._replace(closed=("nvidia-uvm",)), "nodes_closed", "/dev/nvidia-uvm"),
        (
            100,
            {},
            HERE._replace(container=True, capabilities="utility"),
            "no_compute",
            'NVIDIA_DRIVER_CAPABILITIES = "utility" leaves out compute',
        ),
        (100, {"lost": True}, HERE._replace(nvml=15), "gpu_lost", "fallen off the bus"),
        (46, {"compute_mode": 2}, HERE, "gpu_prohibited", "compute mode prohibited"),
        (46, {"compute_mode": 3}, HERE, "gpu_exclusive", "compute mode exclusive"),
        (46, {}, HERE, "gpu_busy", "busy or unavailable"),
        (34, {}, HERE, "cuda_stub", "stub"),
        (214, {}, HERE, "ecc", "an uncorrectable error"),
        (802, {}, HERE, "fabric_manager", "waits for the fabric manager"),
        (803, {}, HERE, "driver_mismatch", "have different versions"),
        (804, {}, HERE, "compat_not_supported", "compatibility library"),
        (999, {}, HERE._replace(nodes=("nvidia0", "nvidiactl")), "no_uvm", "/dev/nvidia-uvm"),
        (999, {}, HERE, "cuda_failed", "CUDA fails to start on NVIDIA A100-SXM4-40GB: error 999"),
        (2, {"used": 40 * 2**30}, HERE, "gpu_full", "40.0 GiB of 40.0 GiB are in use"),
        (35, {"driver": "570.86.15"}, HERE, "driver_too_old", "driver 570.86.15 is too old: torch 2.13.0+cu130 is"),
        (36, {}, HERE, "old_cuda_library", "the loaded CUDA library is older"),
        (209, {"capability": (7, 0)}, HERE, "gpu_not_supported", "has code for sm_80, none of it for"),
    ],
)
def test_a_number_of_cudas_is_told_with_what_the_machine_shows(
    gpu: FakeNvml, number: int, state: dict[str, object], access: GpuAccess, code: str, says: str
) -> None:
    for key, value in state.items():
        setattr(gpu, key, value)
    fault = fault_of(access, failed="driver", code=number)
    assert fault.code == code and says in fault.message and fault.help


def test_the_way_out_of_a_mismatch_is_the_command(gpu: FakeNvml) -> None:
    gpu.driver = "570.86.15"
    assert "torch==2.13.0+cu126 --index-url https://download.pytorch.org/whl/cu126`" in fault_of(code=35).help
    assert "torch==2.13.0+cu126" in fault_of(failed="build", torch="2.13.0+cpu", cuda="").help
    gpu.driver, gpu.name, gpu.capability = "580.65.06", "Tesla V100-SXM2-16GB", (7, 0)
    assert "torch==2.13.0+cu126" in fault_of(code=209).help
    assert fault_of(code=209, cuda="12.6").help == "Use a newer GPU"  # no other build has more


@pytest.mark.parametrize(
    ("access", "code"),
    [
        (GpuAccess(nvml=NO_LIBRARY), "no_cuda_library"),
        (GpuAccess(container=True, capabilities="utility"), "no_compute"),
        (GpuAccess(container=True, capabilities="compute,utility"), "no_cuda_library"),
        (GpuAccess(container=True, capabilities="all"), "no_cuda_library"),
    ],
)
def test_a_cuda_library_that_is_missing(gpu: FakeNvml, access: GpuAccess, code: str) -> None:
    assert fault_of(access, failed="library", error="libcuda.so.1: cannot open").code == code


def test_a_library_that_torch_misses_is_named(gpu: FakeNvml) -> None:
    error = "ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory"
    what = fault_of(failed="import", error=error).message
    assert what == "torch cannot be imported: the library libcudnn.so.9 is missing"
