"""The device of a plan is tried in a process before a run is made; what is wrong refuses the start by its cause."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine.config.schema import RunConfig
from engine.core.diagnostic import Diagnostic, checked
from engine.core.errors import UsageError
from engine.device import try_device
from engine.diagnostics import device_checks, preflight
from engine.diagnostics.device_checks import attempt_in_a_process, check_device, device_fault, require_device
from engine.hardware.detect import detect_gpu
from engine.hardware.gpu_catalog import by_id, cpu
from engine.hardware.probe_machine import MachineProbe, TorchBuild, probe_machine
from engine.hardware.toolchain import Toolchain
from engine.launch import prepare as launching
from engine.launch.prepare import prepare, require_startable
from engine.launch.prepare import try_device as try_launch
from engine.launch.relaunch import relaunch
from engine.launch.rerun import rerun_stages
from engine.launch.start import resume_run, start
from engine.run.directory import RunDirectory, create_run
from tests.helpers.fake_nvml import GIB, FakeNvml
from tests.helpers.made_run import config_of, plan_of
from tests.helpers.stand_in_cuda import cuda, cuda_library

__all__ = ["cuda", "cuda_library"]

CONFIG = config_of("balanced", runtime__compile="off")
PLAN = plan_of(CONFIG)
STAGES = CONFIG.pipeline.stages


@pytest.fixture
def ready_machine(home: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is looked at without torch is well, so that the device decides."""

    def well() -> MachineProbe:
        return probe_machine()._replace(
            torch=TorchBuild("2.13.0", (13, 0)),
            memory_limit=85 * GIB,
            memory_available=80 * GIB,
            disk_free=500 * GIB,
            tools=Toolchain("/usr/bin/gcc", "/usr/bin/g++", headers=True),
        )

    monkeypatch.setattr(launching, "probe_machine", well)


def test_a_device_that_works_is_tried_once_and_announced(cuda: Path, gpu: FakeNvml) -> None:
    said: list[str] = []
    for _ in range(3):
        check = check_device(CONFIG, PLAN, STAGES, said.append)
        assert check == checked("CUDA", "ok", f"torch can use {PLAN.gpu_name}")
    assert cuda.read_text() == "1"
    assert said == ["checking the device ..."]


def test_all_who_ask_at_a_time_get_one_attempt(cuda: Path, gpu: FakeNvml) -> None:
    found: list[Diagnostic | None] = []
    threads = [threading.Thread(target=lambda: found.append(check_device(CONFIG, PLAN, STAGES))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [check is not None and check.severity for check in found] == ["ok"] * 4
    assert cuda.read_text() == "1"


def test_a_failure_is_tried_again(cuda: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_TORCH", "CUDA error: out of memory")
    check = check_device(CONFIG, PLAN, STAGES)
    assert check is not None and (check.subject, check.severity) == ("CUDA", "error")
    assert "GPU memory is already full" in check.message
    monkeypatch.delenv("STAND_IN_TORCH")
    check = check_device(CONFIG, PLAN, STAGES)
    assert check is not None and check.severity == "ok"
    assert cuda.read_text() == "11"


@pytest.mark.parametrize(
    ("variables", "failed", "code"),
    [
        ({"STAND_IN_CUINIT": "802"}, "driver", "fabric_manager"),
        ({"STAND_IN_CUINIT": "803"}, "driver", "driver_mismatch"),
        ({"STAND_IN_CUINIT": "34"}, "driver", "cuda_stub"),
        ({"STAND_IN_CUDA": ""}, "build", "cpu_build"),
        (
            {"STAND_IN_IMPORT": "libcudart.so.13: cannot open shared object file: No such file"},
            "import",
            "torch_broken",
        ),
        ({"STAND_IN_KERNEL": "CUDA error: no kernel image is available"}, "allocation", "gpu_not_supported"),
        ({"STAND_IN_TORCH": "Unexpected error. Error 802: system not yet"}, "allocation", "fabric_manager"),
    ],
)
def test_how_far_an_attempt_comes_says_why_it_fails(
    cuda: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], failed: str, code: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert attempt_in_a_process("cuda", compiled=False).failed == failed
    fault = device_fault("cuda", compiled=False)
    assert fault is not None and fault.code == code


def test_without_the_drivers_library_cuda_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(try_device, "CUDA_LIBRARY", "libcuda-of-no-driver.so.1")  # this machine may have one
    attempt = try_device.try_device("cuda", compiled=False)
    assert attempt.failed == "library" and "libcuda-of-no-driver.so.1" in attempt.error


def test_the_cpu_is_tried_with_the_torch_that_is_here(home: Path) -> None:
    attempt = attempt_in_a_process("cpu", compiled=False)
    assert attempt.failed == "" and attempt.torch


@pytest.mark.parametrize(
    ("script", "failed", "code", "says"),
    [
        ("kill -ILL $$", "killed", "torch_killed", "killed by SIGILL"),
        ("echo 'Illegal thing' >&2; exit 1", "import", "torch_broken", "torch cannot be imported: Illegal thing"),
        ("exit 7", "import", "torch_broken", "torch cannot be imported: exit code 7"),
        ("exec sleep 60", "too_slow", "too_slow", "torch did not start: nothing for 1 s"),
    ],
)
def test_a_process_that_dies_or_says_nothing_is_a_failure(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, failed: str, code: str, says: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(device_checks.sys, "executable", str(python))
    monkeypatch.setattr(device_checks, "ATTEMPT_TIMEOUT", 1.0 if failed == "too_slow" else 60.0)
    assert attempt_in_a_process("cuda", compiled=False).failed == failed
    fault = device_fault("cuda", compiled=False)
    assert fault is not None and fault.code == code and says in fault.message


def test_only_stages_that_use_the_device_have_it_tried(home: Path, cuda: Path, gpu: FakeNvml) -> None:
    assert check_device(CONFIG, PLAN, ("data", "tokenizer", "tokenize", "report")) is None
    quick = config_of("quickstart")
    assert check_device(quick, plan_of(quick, cpu(2, 8 * GIB)), quick.pipeline.stages) is None  # nothing to lose
    assert cuda.read_text() == ""
    big = config_of("balanced", runtime__gpu="cpu", runtime__device="cpu")
    check = check_device(big, plan_of(big, cpu(2, 8 * GIB)), big.pipeline.stages)  # gigabytes come first
    assert check is not None and check.severity == "ok"
    assert cuda.read_text() == "1"


@pytest.mark.usefixtures("ready_machine")
class TestStarts:
    """Every way to start something refuses, and changes nothing."""

    @pytest.fixture(autouse=True)
    def broken(self, cuda: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STAND_IN_CUINIT", "802")

    @pytest.fixture
    def run(self, home: Path) -> RunDirectory:
        return create_run("one", CONFIG, PLAN)

    def test_a_new_run_is_not_made(self, home: Path) -> None:
        with pytest.raises(UsageError, match=r"^CUDA: the GPU waits for the fabric manager .* Start it on the host: "):
            start(prepare(CONFIG), "one")
        assert not (home / "runs" / "one").exists()

    @pytest.mark.parametrize(
        "start",
        [
            resume_run,
            lambda run: rerun_stages(run, STAGES),
            lambda run: rerun_stages(run, [], {"optim.matrix_lr": 0.01}),
            lambda run: relaunch(run, {"optim.matrix_lr": 0.01}),
        ],
        ids=["resume", "stages", "settings", "relaunch"],
    )
    def test_a_run_that_is_here_stays_as_it_is(self, run: RunDirectory, start: Callable[[RunDirectory], None]) -> None:
        before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
        with pytest.raises(UsageError, match="fabric manager"):
            start(run)
        assert {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before

    def test_what_else_is_in_the_way_comes_first(self, cuda: Path, tmp_path: Path) -> None:
        config = config_of("balanced", runtime__compile="off", evaluate__core=str(tmp_path))
        launch = prepare(config)
        assert try_launch(launch) == launch and not launch.device_tried
        assert cuda.read_text() == ""


def test_a_run_of_a_gpu_does_not_go_on_on_the_cpu_in_silence(home: Path, gpu: FakeNvml) -> None:
    config = config_of("smoke")
    assert (config.runtime.gpu, config.runtime.device) == ("auto", "auto")
    run = create_run("one", config, plan_of(config, by_id("a100-40gb")))
    gpu.lost = True
    with pytest.raises(UsageError, match=r"planned for NVIDIA A100.*: the GPU has fallen off .* runtime.gpu=cpu"):
        require_startable(prepare(config, run))
    require_startable(prepare(config, run, ["report"]))
    on_cpu = config_of("smoke", runtime__gpu="cpu")
    assert prepare(on_cpu, run, ["pretrain"]).problems == []


@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        ({"gpu": "a100-40gb", "device": "auto"}, 'runtime.gpu = "a100-40gb": '),
        ({"gpu": "auto", "device": "cuda"}, 'runtime.device = "cuda": '),
    ],
)
def test_a_gpu_that_is_asked_for_and_gone_is_refused_by_cause(
    gpu: FakeNvml, runtime: dict[str, str], says: str
) -> None:
    config: RunConfig = config_of("smoke", **{f"runtime__{key}": value for key, value in runtime.items()})
    require_device(config, detect_gpu())
    gpu.lost = True
    with pytest.raises(UsageError, match=f"^{says}the GPU has fallen off the bus"):
        require_device(config, detect_gpu())


def test_auto_does_not_take_the_cpu_where_a_gpu_is_hidden_by_a_fault(
    home: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.lost = True
    config = config_of("smoke")
    look = probe_machine()
    assert look.access is not None
    with_nodes = look._replace(access=look.access._replace(nodes=("nvidia0", "nvidiactl")))
    plan = plan_of(config, cpu(2, 8 * GIB))

    def problems(look: MachineProbe, config: RunConfig = config) -> list[str]:
        found = preflight.preflight(config, plan, look)
        return [f"{check.message}. {check.help}" for check in found if check.severity == "error"]

    (problem,) = problems(with_nodes)
    assert "fallen off the bus" in problem and problem.endswith("to train on the CPU: --gpu cpu")
    assert problems(look) == []  # no GPU is given to this machine
    assert problems(with_nodes, config_of("smoke", runtime__gpu="cpu")) == []
    assert with_nodes.access is not None
    hidden = with_nodes._replace(access=with_nodes.access._replace(visible=""))
    assert problems(hidden) == []  # on purpose


def test_the_attempt_travels_as_one_line() -> None:
    from engine.hardware.device_faults import Attempt

    attempt = Attempt(failed="allocation", error="two\nlines", archs=("sm_80",))
    line = msgspec.json.encode(attempt)
    assert b"\n" not in line and msgspec.json.decode(line, type=Attempt) == attempt
