"""Where the driver refuses segments that expand, torch's allocator continues without them, with the user's settings."""

import pytest
import torch

from engine.device import allocator
from engine.device.allocator import expands, settings, settle_allocator

FABRIC = "Expected NVML_SUCCESS == DriverAPI::get()->nvmlDeviceGetGpuFabricInfoV_( nvml_device, &fabricInfo) to be true"
FULL = (
    "NVML_SUCCESS == DriverAPI::get()->nvmlInit_v2_() INTERNAL ASSERT FAILED at "
    '"/__w/pytorch/pytorch/c10/cuda/CUDACachingAllocator.cpp":1377'
)


class FakeAllocator:
    """Refuses to allocate while segments expand, as torch does on such a machine."""

    def __init__(self, message: str = FABRIC, *, always: bool = False) -> None:
        self.message, self.always = message, always
        self.set_to: list[str] = []
        self.count = 0

    def allocate(self) -> None:
        self.count += 1
        if self.always or not self.set_to:
            raise RuntimeError(self.message)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in allocator.NAMES:
        monkeypatch.delenv(name, raising=False)


def install(monkeypatch: pytest.MonkeyPatch, fake: FakeAllocator) -> None:
    monkeypatch.setattr(allocator, "_allocate", fake.allocate)
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", fake.set_to.append, raising=False)


def test_a_driver_that_refuses_them_costs_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    fake, told = FakeAllocator(), list[str]()
    install(monkeypatch, fake)
    settle_allocator("cuda", told.append)
    assert fake.set_to == ["expandable_segments:True,expandable_segments:False"]
    assert fake.count == 2
    assert len(told) == 1
    assert FABRIC in told[0]
    assert "\n" not in told[0]


def test_other_settings_of_the_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:200, expandable_segments:True")
    fake = FakeAllocator()
    install(monkeypatch, fake)
    settle_allocator("cuda", lambda _message: None)
    assert fake.set_to == ["max_split_size_mb:200, expandable_segments:True,expandable_segments:False"]


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ("expandable_segments:False", FABRIC),
        ("max_split_size_mb:200", FABRIC),
        ("expandable_segments:True", FULL),  # the GPU is full: that is another matter
        ("expandable_segments:True", "CUDA out of memory. Tried to allocate 2.00 MiB."),
    ],
)
def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch, conf: str, message: str) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", conf)
    fake = FakeAllocator(message)
    install(monkeypatch, fake)
    with pytest.raises(RuntimeError, match=message[:20]):
        settle_allocator("cuda", lambda _message: pytest.fail("nothing to tell"))
    assert not fake.set_to


def test_what_fails_either_way_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    fake = FakeAllocator("CUDA driver version is insufficient for CUDA runtime version", always=True)
    install(monkeypatch, fake)
    with pytest.raises(RuntimeError, match="insufficient"):
        settle_allocator("cuda", lambda _message: pytest.fail("nothing to tell"))


def test_a_cpu_needs_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeAllocator()
    install(monkeypatch, fake)
    settle_allocator("cpu", lambda _message: pytest.fail("nothing to tell"))
    assert fake.count == 0


def test_the_old_name_comes_first_as_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    assert (settings(), expands()) == ("expandable_segments:True", True)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True,expandable_segments:False")
    assert (settings(), expands()) == ("expandable_segments:True,expandable_segments:False", False)
