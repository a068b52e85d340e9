"""The table of docs/troubleshooting.md: every sentence is the code's own, and every test that it names exists."""

import ast
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.core.errors import UsageError
from engine.core.units import GIB
from engine.device import device as training_device
from engine.diagnostics import device_checks
from engine.diagnostics.preflight import preflight, require_ready
from engine.hardware import gpu_access
from engine.hardware import probe_machine as probes
from engine.hardware.device_faults import Attempt, explain
from engine.hardware.gpu_access import LOST, MISMATCH, NO_LIBRARY, NO_PERMISSION, NOT_LOADED, GpuAccess
from engine.hardware.gpu_catalog import by_id, cpu
from engine.hardware.probe_machine import MachineProbe, TorchBuild, probe_gpu, probe_machine
from engine.hardware.toolchain import Toolchain
from engine.launch.prepare import prepare, require_startable
from engine.run.directory import create_run
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.made_run import config_of, plan_of

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "troubleshooting.md"

CONFIG = config_of("balanced")
TOOLS = Toolchain("/usr/bin/gcc", "/usr/bin/g++", headers=True, manager="apt-get", root=True)
NODES = ("nvidia-uvm", "nvidia0", "nvidiactl")
HERE = GpuAccess(devices=1, nodes=NODES)
IN_CONTAINER = GpuAccess(container=True, module="570.86.15")


class Row(NamedTuple):
    lacks: str
    says: str
    when: str
    test: str


def rows() -> list[Row]:
    """The table as it is written."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert cells[0] == ["the machine lacks", "nanosolo says", "when", "test"]
    return [Row(*row) for row in cells[2:]]


class Machine:
    """A machine with one GPU, on which tests take away one thing; what nanosolo says then, in one line."""

    def __init__(self, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpu = gpu
        self._monkeypatch = monkeypatch

    def start(self, look: Mapping[str, object] | None = None, **state: object) -> str:
        """A start on a machine that lacks it, as far as it is seen without torch."""
        self._set(state)
        good: dict[str, object] = {
            "torch": TorchBuild("2.13.0", (13, 0)),
            "cores": 12,
            "memory_total": 85 * GIB,
            "memory_limit": 85 * GIB,
            "memory_available": 80 * GIB,
            "shared_memory": 8 * GIB,
            "disk_free": 500 * GIB,
            "home": Path("/home/you/nanosolo"),
            "tools": TOOLS,
        }
        found: MachineProbe = probe_machine()._replace(**{**good, **(look or {})})  # type: ignore[arg-type]
        return refusal(lambda: require_ready(preflight(CONFIG, plan_of(CONFIG), found)))

    def without_gpu(self, access: GpuAccess) -> str:
        """A start for a GPU where NVML shows none."""
        self.gpu.lost = True
        self._monkeypatch.setattr(device_checks, "gpu_access", lambda: access)
        return refusal(lambda: device_checks.require_device(CONFIG, None))

    def tried(self, access: GpuAccess = HERE, tools: Toolchain = TOOLS, **attempt: object) -> str:
        """The attempt to use the GPU fails."""
        self._set({key: attempt.pop(key) for key in ("used", "driver", "name", "compute_mode") if key in attempt})
        build = {"torch": "2.13.0+cu130", "cuda": "13.0", "archs": ("sm_75", "sm_80")}
        given = {"failed": "allocation", **build, **attempt}
        return f"CUDA: {explain(Attempt(**given), access, probe_gpu(), tools)}"  # type: ignore[arg-type]

    def auto(self) -> str:
        """`auto`, with a GPU given to this machine that NVML cannot see."""
        self.gpu.lost = True
        config = config_of("smoke")
        found = probe_machine()._replace(access=GpuAccess(nvml=MISMATCH, nodes=NODES))
        return refusal(lambda: require_ready(preflight(config, plan_of(config, cpu(2, 8 * GIB)), found)))

    def resumed(self) -> str:
        """A run of a GPU on a machine without one."""
        config = config_of("smoke")
        run = create_run("one", config, plan_of(config, by_id("a100-40gb")))
        self.gpu.lost = True
        self._monkeypatch.setattr(probes, "gpu_access", lambda: GpuAccess(nvml=NO_LIBRARY))
        return refusal(lambda: require_startable(prepare(config, run)))

    def in_a_stage(self) -> str:
        """The GPU goes between the start and a stage."""
        fault = explain(Attempt(failed="driver", code=802), HERE, probe_gpu(), TOOLS)
        self._monkeypatch.setattr(training_device, "device_fault", lambda _device, compiled: fault)
        self._monkeypatch.setattr(training_device.torch.cuda, "is_available", lambda: False)
        return refusal(lambda: training_device.choose_device(config_of("smoke"), plan_of(CONFIG)))

    def _set(self, state: Mapping[str, object]) -> None:
        for key, value in state.items():
            setattr(self.gpu, key, value)


def without_figures(text: str) -> str:
    """Hours and sizes are the plan's, and no part of the sentence."""
    return re.sub(r"\d+ h \d+ m|\d+\.\d GiB", "so much", text)


def refusal(start: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as error:
        start()
    return str(error.value)


CASES: dict[str, Callable[[Machine], str]] = {
    "a GPU": lambda m: m.without_gpu(GpuAccess(nvml=NO_LIBRARY)),
    "the driver of its GPU": lambda m: m.without_gpu(GpuAccess(nvml=NO_LIBRARY, on_bus=True)),
    "the driver in the kernel": lambda m: m.without_gpu(GpuAccess(nvml=NOT_LOADED)),
    "the GPU in its container": lambda m: m.without_gpu(IN_CONTAINER._replace(nvml=NO_LIBRARY)),
    "`utility` in its container": lambda m: m.without_gpu(
        IN_CONTAINER._replace(nvml=NO_LIBRARY, nodes=NODES, capabilities="compute")
    ),
    "`compute` in its container": lambda m: m.tried(
        IN_CONTAINER._replace(devices=1, nodes=NODES, capabilities="utility"), failed="library"
    ),
    "the right to open the device nodes": lambda m: m.without_gpu(
        GpuAccess(nvml=NO_PERMISSION, nodes=NODES, closed=("nvidia0", "nvidiactl"))
    ),
    "a restart after an update of the driver": lambda m: m.without_gpu(GpuAccess(nvml=MISMATCH, module="570.86.15")),
    "a GPU that answers": lambda m: m.without_gpu(GpuAccess(nvml=LOST, devices=1)),
    "a GPU that is not hidden": lambda m: m.without_gpu(GpuAccess(visible="3", devices=1)),
    "a working driver, for `auto`": lambda m: m.auto(),
    "the GPU that the run began on": lambda m: m.resumed(),
    "a driver that is new enough": lambda m: m.start(driver="570.86.15", cuda=12080),
    "a torch for GPUs": lambda m: m.start({"torch": TorchBuild("2.13.0+cpu", None)}),
    "torch": lambda m: m.start({"torch": None}),
    "a GPU that torch has code for": lambda m: m.start(name="Tesla V100-SXM2-16GB", driver="580.65.06"),
    "a slice, with MIG on": lambda m: m.start(mig=True),
    "the permission to use the GPU": lambda m: m.start(compute_mode=2),
    "a GPU for more than one process": lambda m: m.tried(code=46, compute_mode=3),
    "free GPU memory": lambda m: m.start(used=39 * GIB, processes=2),
    "a C compiler": lambda m: m.start({"tools": TOOLS._replace(c=None)}),
    "Python's headers": lambda m: m.start({"tools": TOOLS._replace(headers=False)}),
    "room on the disk": lambda m: m.start({"disk_free": 5 * GIB}),
    "memory of the host": lambda m: m.start({"memory_limit": 2 * GIB, "memory_available": 2 * GIB}),
    "a fabric manager": lambda m: m.tried(failed="driver", code=802),
    "a CUDA library of the driver's version": lambda m: m.tried(failed="driver", code=803),
    "a CUDA library that is not the toolkit's stub": lambda m: m.tried(failed="driver", code=34),
    "the driver's part for CUDA": lambda m: m.tried(HERE._replace(nodes=("nvidia0", "nvidiactl")), code=999),
    "a CUDA library as new as the driver": lambda m: m.tried(code=36),
    "GPU memory that others leave": lambda m: m.tried(code=2, used=40 * GIB),
    "a library of torch's": lambda m: m.tried(
        failed="import", error="ImportError: libcudnn.so.9: cannot open shared object file"
    ),
    "a compiler that works": lambda m: m.tried(
        failed="compile", error="ld: cannot find -lc\nCalledProcessError: x returned non-zero exit status 1."
    ),
    "a disk for caches that is not mounted noexec": lambda m: m.tried(
        failed="compile", error="ImportError: cuda_utils.so: failed to map segment from shared object"
    ),
    "the GPU, once a stage begins": lambda m: m.in_a_stage(),
}


@pytest.fixture
def machine(home: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(gpu_access, "DEV", home / "no-dev")
    return Machine(gpu, monkeypatch)


def test_every_row_has_its_case() -> None:
    assert [row.lacks for row in rows()] == list(CASES)


@pytest.mark.parametrize("lacks", CASES)
def test_a_sentence_is_what_the_code_says(machine: Machine, lacks: str) -> None:
    said = CASES[lacks](machine).replace(sys.executable, "python").replace("`", "")
    said = said.replace(f"python{sys.version_info.major}.{sys.version_info.minor}-dev", "python3.11-dev")
    written = {row.lacks: row.says for row in rows()}
    assert without_figures(written[lacks]) == without_figures(said)


@pytest.mark.parametrize("row", rows() if PAGE.exists() else [], ids=lambda row: row.lacks)
def test_a_test_that_is_named_exists(row: Row) -> None:
    assert row.when in ("start", "start, last", "resume", "stage")
    found = re.fullmatch(r"`(tests/\S+\.py)::(test_\w+)`", row.test)
    assert found is not None, row.test
    tree = ast.parse((REPOSITORY / found[1]).read_text())
    assert found[2] in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
