"""What is found of GPU, slices, processor and limits, on machines that have them and machines that do not."""

import msgspec
import pytest

from engine.core.errors import UsageError
from engine.diagnostics.device_checks import require_device
from engine.hardware import cgroups, detect
from engine.hardware.detect import detect_cpu, detect_gpu, device_for
from engine.hardware.gpu_catalog import by_id
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.made_run import config_of


def test_a_gpu_is_found_by_the_name_that_nvml_gives(gpu: FakeNvml) -> None:
    found = detect_gpu()
    assert found is not None
    assert found.id == "a100-40gb"
    assert detect.detect() == found == device_for(config_of("balanced", runtime__gpu="auto", runtime__device="auto"))


@pytest.mark.parametrize("visible", ["", "-1", "3", "GPU-unknown"])
def test_a_gpu_that_torch_may_not_see_is_none(gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert detect_gpu() is None


@pytest.mark.parametrize("visible", ["0", "0,1", "GPU-1"])
def test_a_gpu_that_is_named_is_found(gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = detect_gpu()
    assert found is not None
    assert found.id == "a100-40gb"


@pytest.mark.parametrize("visible", [None, "MIG-1"])
def test_of_a_gpu_in_slices_the_slice_counts(
    gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpu.slices = ["NVIDIA A100-SXM4-40GB MIG 1g.5gb"]
    found = detect_gpu()
    assert found is not None
    assert found.capacity == gpu.total // 8
    assert found.peak_flops == pytest.approx(312e12 * 14 / 108, rel=0.1)


def test_the_memory_is_what_the_driver_leaves_where_it_says_so(gpu: FakeNvml) -> None:
    old = detect_gpu()
    assert old is not None and old.capacity == by_id("a100-40gb").capacity  # the lowest seen, for drivers before 510
    gpu.reserved = 451 * 2**20
    new = detect_gpu()
    assert new is not None and new.capacity == (40 * 1024 - 451) * 2**20
    assert msgspec.structs.replace(new, capacity=old.capacity) == old
    gpu.reserved = 0  # not said, as torch never sees all
    assert detect_gpu() == old


def test_a_slice_has_the_memory_that_its_driver_leaves(gpu: FakeNvml) -> None:
    gpu.slices, gpu.reserved = ["NVIDIA A100-SXM4-40GB MIG 1g.5gb"], 20 * 2**20
    found = detect_gpu()
    assert found is not None and found.capacity == gpu.total // 8 - 20 * 2**20


def test_a_lost_gpu_and_a_missing_driver_are_facts(gpu: FakeNvml) -> None:
    gpu.lost = True
    assert detect_gpu() is None
    assert not detect.detect().is_cuda


def test_a_machine_without_nvml_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert detect.nvml() is None
    assert detect_gpu() is None


def test_a_run_for_a_gpu_needs_one(gpu: FakeNvml) -> None:
    require_device(config_of("balanced"), detect_gpu())
    gpu.lost = True
    with pytest.raises(UsageError, match="the GPU has fallen off the bus"):
        require_device(config_of("balanced"), detect_gpu())
    require_device(config_of("quickstart"), detect_gpu())
    with pytest.raises(UsageError, match=r"not in the catalogue. Did you mean a100-80gb"):
        require_device(config_of("balanced", runtime__gpu="a100"), None)


def test_the_processor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/proc/cpuinfo": "processor : 0\nmodel name\t: Intel(R) Xeon(R) CPU   E5-2673 v4 @ 2.30GHz\n"}
    monkeypatch.setattr(detect, "_read", lambda path: texts.get(str(path), ""))
    assert detect_cpu().name == "Intel Xeon CPU E5-2673 v4"
    texts.clear()
    assert detect_cpu().name


def test_cores_and_memory_are_those_that_the_groups_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect.os, "sched_getaffinity", lambda _: set(range(64)))
    memory = type("Memory", (), {"total": 100, "available": 80})
    monkeypatch.setattr(detect.psutil, "virtual_memory", lambda: memory)
    for quota, limit, left, expected in (
        (None, None, None, (64, 100, 80)),
        (12.9, 50, 30, (12, 50, 30)),
        (0.5, 500, 300, (1, 100, 80)),
        (1000.0, 90, 85, (64, 90, 80)),
    ):
        monkeypatch.setattr(cgroups, "cpu_quota", lambda quota=quota: quota)
        monkeypatch.setattr(cgroups, "memory_limit", lambda limit=limit: limit)
        monkeypatch.setattr(cgroups, "memory_left", lambda left=left: left)
        found = (detect.usable_cores(), detect.memory_limit(), detect.memory_available())
        assert found == expected
