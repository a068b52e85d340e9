"""The monitor sums up what it sees, bears what a driver does not say, and tells each fault once."""

import os
from pathlib import Path

import pytest

from engine.events.kinds import System
from engine.hardware import gpu_fault_watch, gpu_faults
from engine.hardware.gpu_fault_watch import KernelLog
from engine.hardware.telemetry import SAMPLES_PER_EVENT, Monitor, throttle_words
from tests.helpers.fake_nvml import FakeNvml


@pytest.fixture
def kernel_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kmsg"
    path.write_bytes(b"6,1,1,-;NVRM: Xid (PCI:0000:07:00): 31, pid=1, before the run\n")
    monkeypatch.setattr(KernelLog.__init__, "__defaults__", (path,))
    return path


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def event_of(monitor: Monitor) -> System:
    found = [monitor.sample() for _ in range(SAMPLES_PER_EVENT)]
    assert found[:-1] == [None] * (SAMPLES_PER_EVENT - 1)
    assert found[-1] is not None
    return found[-1]


def test_without_a_gpu_the_host_is_seen(tmp_path: Path, kernel_log: Path) -> None:
    monitor = Monitor(tmp_path)
    event = event_of(monitor)
    assert event.gpu is None
    assert 0 < event.host["ram_used"] < event.host["ram_total"]
    assert event.host["disk_free"] > 0
    assert monitor.faults() == []


def test_a_disk_that_is_away_ends_nothing(tmp_path: Path, kernel_log: Path) -> None:
    assert event_of(Monitor(tmp_path / "gone")).host["disk_free"] is None


def test_an_event_tells_of_all_samples(gpu: FakeNvml, tmp_path: Path, kernel_log: Path) -> None:
    monitor = Monitor(tmp_path)
    gpu.used, gpu.throttle = 30 * 2**30, 0x40
    monitor.sample()
    gpu.used, gpu.throttle = 2**30, 0x4
    last = [monitor.sample() for _ in range(SAMPLES_PER_EVENT - 1)][-1]
    assert last is not None
    assert last.gpu is not None
    assert last.gpu["used"] == 30
    assert last.gpu["throttle"] == ["hardware thermal", "power cap"]
    assert (last.gpu["utilization"], last.gpu["temperature"], last.gpu["power"], last.gpu["clock"]) == (
        99,
        64,
        382,
        1395,
    )


def test_what_the_driver_keeps_for_itself_is_not_used(gpu: FakeNvml, tmp_path: Path, kernel_log: Path) -> None:
    gpu.used, gpu.reserved = 2 * 2**30, 2**30
    event = event_of(Monitor(tmp_path))
    assert event.gpu is not None
    assert (event.gpu["used"], event.gpu["total"]) == (2.0, 40.0)


def test_what_a_driver_does_not_say_is_left_open(gpu: FakeNvml, tmp_path: Path, kernel_log: Path) -> None:
    gpu.refused = {
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
        "nvmlDeviceGetTotalEccErrors",
        "nvmlDeviceGetRemappedRows",
    }
    monitor = Monitor(tmp_path)
    event = event_of(monitor)
    assert event.gpu is not None
    assert event.gpu["utilization"] is None
    assert event.gpu["throttle"] == []
    assert monitor.faults() == []


def test_a_gpu_that_is_lost_meanwhile_is_not_there(gpu: FakeNvml, tmp_path: Path, kernel_log: Path) -> None:
    monitor = Monitor(tmp_path)
    gpu.lost = True
    assert event_of(monitor).gpu is None


def test_notices_come_once(gpu: FakeNvml, tmp_path: Path, kernel_log: Path) -> None:
    monitor = Monitor(tmp_path)
    gpu.processes = 1
    gpu.throttle = 0x4  # the power cap is no news
    assert monitor.notices(event_of(monitor)) == []
    gpu.processes, gpu.throttle = 3, 0x20
    told = monitor.notices(event_of(monitor))
    assert [advice.code for advice in told] == ["gpu_throttled", "gpu_shared"]
    assert "64 °C: software thermal" in told[0].message
    assert told[1].message.startswith("2 other processes are on this GPU")
    assert monitor.notices(event_of(monitor)) == []


def test_xids_come_from_nvml_where_it_tells(gpu: FakeNvml, tmp_path: Path, kernel_log: Path) -> None:
    monitor = Monitor(tmp_path)
    gpu.xids = [79, 79]
    append(kernel_log, b"6,2,2,-;NVRM: Xid (PCI:0000:07:00): 79, pid='<unknown>'\n")  # the same, seen twice
    (fault,) = monitor.faults()
    assert fault.code == "xid_79"
    assert str(fault).startswith("GPU fault Xid 79: the GPU has fallen off the bus")
    assert "another machine" in fault.help
    assert monitor.faults() == []


def test_xids_come_from_the_kernel_log_else(gpu: FakeNvml, tmp_path: Path, kernel_log: Path) -> None:
    gpu.refused = {"nvmlDeviceRegisterEvents"}
    monitor = Monitor(tmp_path)
    assert monitor.faults() == []  # what was there before does not count
    append(kernel_log, b"6,3,3,-;NVRM: Xid (PCI:0000:07:00): 48, pid=7, DBE\n6,4,4,-;other\n")
    append(kernel_log, b"6,5,5,-;NVRM: Xid (PCI:0000:07:00): 999, pid=7\n")
    assert [fault.code for fault in monitor.faults()] == ["xid_48", "xid_999"]
    assert monitor.faults() == []


def test_the_kernel_says_whom_it_killed(tmp_path: Path, kernel_log: Path) -> None:
    monitor = Monitor(tmp_path)
    append(kernel_log, b"3,6,6,-;Out of memory: Killed process 4242 (python) total-vm:1kB\n")
    assert monitor.killed(4242)
    assert not monitor.killed(1)


def test_a_kernel_log_that_may_not_be_read_is_silent(tmp_path: Path) -> None:
    log = KernelLog(tmp_path / "none")
    assert log.xids() == []
    assert not log.killed(os.getpid())
    log.close()


def test_counters_tell_what_is_new(gpu: FakeNvml, tmp_path: Path, kernel_log: Path) -> None:
    gpu.uncorrected, gpu.rows = 3, (0, 1, 1, 0)  # from before
    monitor = Monitor(tmp_path)
    assert monitor.faults() == []
    gpu.uncorrected = 4
    assert [fault.code for fault in monitor.faults()] == ["ecc"]
    gpu.rows = (0, 2, 1, 1)
    assert [fault.code for fault in monitor.faults()] == ["row_remap_failed"]
    assert monitor.faults() == []
    assert gpu_fault_watch.row_faults(False, False) == []
    assert [fault.code for fault in gpu_fault_watch.row_faults(True, False)] == ["row_remap_pending"]


@pytest.mark.parametrize(("bits", "words"), [(0, []), (0x1, []), (0x8 | 0x80, ["hardware slowdown", "power brake"])])
def test_throttle_bits_in_words(bits: int, words: list[str]) -> None:
    assert throttle_words(bits) == words


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "illegal_access"),
        ("torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", "ecc"),
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", "driver_too_old"),
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "gpu_not_supported"),
        ("CUDA error: all CUDA-capable devices are busy or unavailable", "gpu_busy"),
        ("RuntimeError: No CUDA GPUs are available", "no_gpu"),
        ("CUDA error: unspecified launch failure", "launch_failure"),
        ("RuntimeError: Failed to find C compiler. Please specify via CC environment variable", "no_compiler"),
        ("ValueError: nothing of the kind", None),
    ],
)
def test_torch_errors_are_recognised(text: str, code: str | None) -> None:
    fault = gpu_faults.torch_error(f"Traceback ...\n{text}\nmore\n")
    assert (fault.code if fault else None) == code


def test_every_fault_says_what_to_do() -> None:
    for fault in [
        *(gpu_faults.xid(number) for number in [*gpu_faults.XIDS, 1]),
        *(f for _, f in gpu_faults.TORCH_ERRORS),
    ]:
        assert fault.message and fault.help
        assert not fault.help.endswith(".")
        assert "\n" not in str(fault)
