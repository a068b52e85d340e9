"""Which device a stage takes: the CPU only where the plan is for it, and a refusal with the cause everywhere else."""

from typing import Any

import pytest
import torch

from engine.core.diagnostic import failure
from engine.core.errors import UsageError
from engine.core.units import GIB
from engine.device import device as module
from engine.device.device import choose_device, prepare_device
from engine.hardware.gpu_catalog import by_id, cpu
from engine.plan.plan import Plan
from tests.helpers.made_run import config_of, plan_of

AUTO = {"gpu": "auto", "device": "auto"}
FOR_GPU, FOR_CPU = (plan_of(config_of("smoke"), gpu) for gpu in (by_id("a100-40gb"), cpu(2, 8 * GIB)))
FAULT = failure("fabric_manager", "the GPU waits", "Start its manager")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what torch and NVML see."""

    def make(torch_sees: bool, nvml_sees: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: torch_sees)
        monkeypatch.setattr(module, "detect_gpu", lambda: by_id("a100-40gb") if nvml_sees else None)
        monkeypatch.setattr(module, "device_fault", lambda _device, compiled: FAULT)

    return make


@pytest.mark.parametrize(
    ("runtime", "plan", "torch_sees", "nvml_sees", "device"),
    [
        (AUTO, FOR_GPU, True, True, "cuda"),
        (AUTO, None, True, True, "cuda"),
        (AUTO, FOR_CPU, False, False, "cpu"),
        (AUTO, None, False, False, "cpu"),
        (AUTO, FOR_CPU, True, True, "cuda"),  # a run that came from a machine without a GPU
        ({"gpu": "cpu", "device": "auto"}, FOR_GPU, True, True, "cpu"),
        ({"gpu": "a100-40gb", "device": "cpu"}, FOR_GPU, True, True, "cpu"),
        ({"gpu": "a100-40gb", "device": "auto"}, FOR_GPU, True, True, "cuda"),
    ],
)
def test_the_device_is_the_plans(
    machine: Any, runtime: dict[str, str], plan: Plan | None, torch_sees: bool, nvml_sees: bool, device: str
) -> None:
    machine(torch_sees, nvml_sees)
    config = config_of("smoke", **{f"runtime__{key}": value for key, value in runtime.items()})
    assert choose_device(config, plan) == device


@pytest.mark.parametrize(
    ("runtime", "plan", "nvml_sees"),
    [
        (AUTO, FOR_GPU, False),
        (AUTO, FOR_GPU, True),
        (AUTO, None, True),
        (AUTO, FOR_CPU, True),  # it trains on what is here, and here is a GPU that fails
        ({"gpu": "a100-40gb", "device": "auto"}, None, False),
        ({"gpu": "auto", "device": "cuda"}, FOR_CPU, False),
    ],
)
def test_a_gpu_that_fails_is_never_replaced_by_the_cpu(
    machine: Any, runtime: dict[str, str], plan: Plan | None, nvml_sees: bool
) -> None:
    machine(False, nvml_sees)
    config = config_of("smoke", **{f"runtime__{key}": value for key, value in runtime.items()})
    says = r"^this run is for a GPU: the GPU waits\. Start its manager\. To train on the CPU: --set runtime.gpu=cpu$"
    with pytest.raises(UsageError, match=says):
        choose_device(config, plan)


def test_threads_follow_the_setting_or_the_free_cores(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(False, False)
    monkeypatch.setattr(module, "free_threads", lambda: 3)
    before = torch.get_num_threads()
    try:
        prepare_device(config_of("quickstart"))
        assert torch.get_num_threads() == 3
        prepare_device(config_of("quickstart", runtime__threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
