"""What is refused and what is warned of before a run, on machines that lack one thing each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config.layers import with_changes
from engine.config.schema import RunConfig
from engine.core.diagnostic import Diagnostic
from engine.core.errors import UsageError
from engine.core.units import GIB, MIB
from engine.diagnostics.doctor import examine
from engine.diagnostics.preflight import disk_need, preflight, require_ready
from engine.hardware.gpu_catalog import cpu
from engine.hardware.probe_machine import MachineProbe, TorchBuild, probe_machine
from engine.hardware.toolchain import Toolchain
from engine.launch.prepare import prepare, with_absolute_paths
from engine.launch.start import start
from engine.plan.plan import Plan
from engine.run.directory import RunDirectory
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.made_run import config_of, plan_of

CONFIG = config_of("balanced")
PLAN = plan_of(CONFIG)
BUILD = TorchBuild("2.13.0", (13, 0))
TOOLS = Toolchain("/usr/bin/gcc", "/usr/bin/g++", headers=True, manager="apt-get", root=True)


@pytest.fixture
def machine(home: Path, gpu: FakeNvml) -> Callable[..., MachineProbe]:
    """A good machine with the GPU as it is set, but for what the arguments say."""

    def make(**different: Any) -> MachineProbe:
        good = probe_machine()._replace(
            torch=BUILD,
            cores=12,
            memory_total=85 * GIB,
            memory_limit=85 * GIB,
            memory_available=80 * GIB,
            shared_memory=8 * GIB,
            disk_free=500 * GIB,
            tools=TOOLS,
        )
        return good._replace(**different)

    return make


def by_name(checks: list[Diagnostic]) -> dict[str, Diagnostic]:
    return {check.subject: check for check in checks}


def test_a_good_machine_is_ready(machine: Callable[..., MachineProbe]) -> None:
    found = preflight(CONFIG, PLAN, machine())
    assert {check.severity for check in found} == {"ok"}, found
    require_ready(found)
    assert set(by_name(found)) == {
        "text", "home", "GPU", "GPU health", "driver", "GPU memory", "host", "compiler", "/dev/shm", "clock"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("different", "name", "verdict", "says"),
    [
        ({"torch": TorchBuild("2.13.0", (14, 1))}, "driver", "error", "is built for CUDA 14.1 and needs a newer"),
        ({"torch": TorchBuild("2.13.0+cpu", None)}, "driver", "error", "a build for CPUs"),
        ({"disk_free": 5 * GIB}, "home", "error", "this run still needs"),
        ({"disk_free": 29 * GIB}, "home", "warning", "little is left"),
        ({"home_fault": "cannot write to /x: Read-only file system. Free it."}, "home", "error", "Read-only"),
        ({"memory_limit": 2 * GIB, "memory_available": 2 * GIB}, "host", "error", "limited from 85.0 GiB"),
        ({"memory_limit": 8 * GIB, "memory_available": 3 * GIB}, "host", "warning", "the run needs about"),
        ({"shared_memory": 64 * 2**20}, "/dev/shm", "note", "64 MiB"),
        ({"now": 1e9}, "clock", "warning", "before 2025"),
        ({"now": 1.8e9, "newest_run": 1.9e9}, "clock", "warning", "in the future"),
        ({"tools": TOOLS._replace(c=None)}, "compiler", "error", "needs a C compiler (gcc, clang or $CC), not found"),
        ({"tools": TOOLS._replace(headers=False)}, "compiler", "error", "needs Python's headers (Python.h), not"),
    ],
)
def test_what_a_machine_lacks_is_named_with_the_way_out(
    machine: Callable[..., MachineProbe], different: dict[str, Any], name: str, verdict: str, says: str
) -> None:
    found = preflight(CONFIG, PLAN, machine(**different))
    check = by_name(found)[name]
    assert (check.severity, says in check.message) == (verdict, True), check
    assert check.help
    assert [c.subject for c in found if c.severity != "ok"] == [name]
    if verdict == "error":
        with pytest.raises(UsageError, match=f"^{name}: [^\n]*[.]$"):
            require_ready(found)


def test_a_stop_that_a_spot_machine_does_not_wait_for_is_noted(
    machine: Callable[..., MachineProbe], gpu: FakeNvml
) -> None:
    def notes(seconds: float) -> list[str]:
        found = preflight(CONFIG, msgspec.structs.replace(PLAN, stop_seconds=seconds), machine())
        return [check.message for check in found if check.subject == "stop"]

    assert notes(29.0) == []
    assert notes(40.0) == ["takes about 40 s, longer than the notice of spot machines: Google Cloud and Azure (30 s)"]


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ({"used": 571 * MIB}, "ok"),  # an old driver counts what it keeps for itself
        ({"used": 4 * MIB, "reserved": 571 * MIB}, "ok"),
        ({"used": 600 * MIB, "reserved": 571 * MIB}, "warning"),
        ({"used": 2 * GIB}, "warning"),
        ({"compute_mode": 3, "processes": 1}, "ok"),  # an MPS server that shares the GPU; the attempt tells
    ],
)
def test_little_use_of_the_gpu_is_no_other_program(
    machine: Callable[..., MachineProbe], gpu: FakeNvml, state: dict[str, int], verdict: str
) -> None:
    for key, value in state.items():
        setattr(gpu, key, value)
    assert by_name(preflight(CONFIG, PLAN, machine()))["GPU memory"].severity == verdict


@pytest.mark.parametrize(
    ("state", "name", "verdict", "says"),
    [
        ({"cuda": 12080, "driver": "570.86.15"}, "driver", "error", "needs driver 580.65.06 or newer"),
        ({"name": "Tesla V100-SXM2-16GB"}, "driver", "error", "has no code for"),
        ({"used": 3 * GIB, "processes": 1}, "GPU memory", "warning", "37.0 GiB of 40.0 GiB free, 1 other process"),
        ({"used": 39 * GIB, "processes": 2}, "GPU memory", "error", "weights, gradients and optimizer alone"),
        ({"compute_mode": 2}, "GPU memory", "error", "compute mode prohibited"),
        ({"mig": True}, "GPU", "error", "in MIG mode without any slice"),
        ({"uncorrected": 1}, "GPU health", "warning", "1 uncorrectable error"),
        ({"rows": (0, 1, 1, 0)}, "GPU health", "warning", "is marked for replacement"),
        ({"rows": (0, 1, 0, 1)}, "GPU health", "warning", "could not be replaced"),
        ({"throttle": 0x40 | 0x4}, "GPU clock", "warning", "hardware thermal"),
    ],
)
def test_what_is_wrong_with_a_gpu_is_named(
    machine: Callable[..., MachineProbe], gpu: FakeNvml, state: dict[str, Any], name: str, verdict: str, says: str
) -> None:
    for key, value in state.items():
        setattr(gpu, key, value)
    found = preflight(CONFIG, PLAN, machine())
    check = by_name(found)[name]
    assert (check.severity, says in check.message) == (verdict, True), check
    assert {c.subject for c in found if c.severity != "ok"} == {name}
    assert check in examine(machine()) or name == "GPU memory"


def test_any_driver_of_the_same_cuda_will_do(machine: Callable[..., MachineProbe], gpu: FakeNvml) -> None:
    gpu.cuda = 12020
    check = by_name(preflight(CONFIG, PLAN, machine(torch=TorchBuild("2.9.0", (12, 8)))))["driver"]
    assert check.severity == "ok"


def test_a_slice_is_called_one(machine: Callable[..., MachineProbe], gpu: FakeNvml) -> None:
    gpu.slices = ["NVIDIA A100-SXM4-40GB MIG 3g.20gb"]
    assert "a MIG slice" in by_name(preflight(CONFIG, PLAN, machine()))["GPU"].message


def test_on_a_cpu_only_the_host_counts(machine: Callable[..., MachineProbe], gpu: FakeNvml) -> None:
    gpu.lost = True
    config = config_of("quickstart")
    plan = plan_of(config, cpu(2, 8 * GIB))
    found = by_name(preflight(config, plan, machine()))
    assert set(found) == {"text", "home", "host", "/dev/shm", "clock"}
    tiny = machine(memory_limit=2**20, memory_available=2**20)
    assert by_name(preflight(config, plan, tiny))["host"].severity == "error"


def test_what_is_here_already_needs_no_room(machine: Callable[..., MachineProbe], tmp_path: Path) -> None:
    look = machine()
    assert disk_need(PLAN, look) == PLAN.disk_bytes
    assert disk_need(PLAN, look._replace(shards=10**15, tokens=10**15)) == PLAN.disk.checkpoints
    run = RunDirectory(tmp_path / "run")
    (run.path / "checkpoints" / "pretrain").mkdir(parents=True)
    (run.path / "checkpoints" / "pretrain" / "x").write_bytes(b"x" * 1000)
    assert disk_need(PLAN, look, run) == PLAN.disk_bytes - 1000


@pytest.mark.parametrize("paths", [["/nowhere"], ["{tmp}/empty"]])
def test_text_that_is_not_there_is_refused_and_no_run_is_made(home: Path, tmp_path: Path, paths: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    named = [path.format(tmp=tmp_path) for path in paths]
    config = config_of("quickstart", data__source="local", data__paths=named)
    with pytest.raises(UsageError, match=r"^text: data.paths: .* Give a folder"):
        start(prepare(config), "one")
    assert not (home / "runs" / "one").exists()


def test_the_doctor_sees_what_is_here(machine: Callable[..., MachineProbe], monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(machine())
    assert {check.severity for check in found} == {"ok"}
    names = {check.subject for check in found}
    assert {"nanosolo", "torch", "GPU", "driver", "GPU memory", "host", "compiler", "home", "clock"} <= names
    monkeypatch.setattr("engine.diagnostics.doctor.PACKAGES", ("no-such-package",))
    missing = by_name(examine(machine()))["no-such-package"]
    assert (missing.severity, "pip install no-such-package" in missing.help) == ("error", True)


def test_the_doctor_demands_what_this_machine_can_train(machine: Callable[..., MachineProbe], gpu: FakeNvml) -> None:
    a100 = by_name(examine(machine(disk_free=20 * GIB)))["home"]
    assert a100.severity == "error" and "preset balanced needs" in a100.message
    gpu.lost = True
    laptop = by_name(examine(machine(gpu=None, disk_free=3 * GIB, memory_limit=4 * GIB, memory_available=3 * GIB)))
    assert laptop["home"].severity == laptop["host"].severity == "ok"
    assert "preset quickstart needs" in laptop["home"].message
    small = by_name(examine(machine(gpu=None, disk_free=2**27, memory_available=2**29)))
    assert (small["home"].severity, small["host"].severity) == ("error", "warning")
    assert "31 GB" not in str(small) and "compiler" not in small


def test_stages_without_a_model_demand_no_gpu_no_compiler_and_no_room_for_checkpoints(
    machine: Callable[..., MachineProbe],
) -> None:
    config = with_changes(CONFIG, {"pipeline.stages": ["data", "tokenizer"]})
    plan = plan_of(config)
    look = machine(
        torch=TorchBuild("2.13.0", None),
        tools=TOOLS._replace(c=None),
        memory_limit=GIB,
        disk_free=plan.disk.shards + 2 * GIB,
    )
    assert set(by_name(preflight(config, plan, look))) == {"text", "home", "host", "/dev/shm", "clock"}
    assert {check.severity for check in preflight(config, plan, look)} == {"ok"}
    report = with_changes(CONFIG, {"pipeline.stages": ["report"], "data.source": "local", "data.paths": ["/nowhere"]})
    assert "text" not in by_name(preflight(report, plan_of(report), look))


def test_looking_leaves_nothing_behind(home: Path) -> None:
    probe_machine()
    assert list(home.iterdir()) == []


def test_every_preset_can_be_checked(machine: Callable[..., MachineProbe]) -> None:
    for name in ("smoke", "conservative", "aggressive", "maximum", "reference"):
        config: RunConfig = config_of(name)
        plan: Plan = plan_of(config)
        assert preflight(config, plan, machine())


def refused(config: RunConfig, look: MachineProbe | None = None) -> list[tuple[str, str]]:
    """(name, finding) of every problem that a start would name."""
    checks = preflight(config, plan_of(config, cpu(2, 8 * GIB)), look or probe_machine())
    return [(check.subject, check.message) for check in checks if check.severity == "error"]


def test_a_bundle_that_is_none_is_refused_before_the_run_begins(home: Path, tmp_path: Path) -> None:
    wrong = str(tmp_path / "bundle")
    config = config_of("quickstart", evaluate__core=wrong)
    ((name, finding),) = refused(config)
    assert name == "CORE" and finding.startswith(f"evaluate.core = {wrong}: ")
    with pytest.raises(
        UsageError, match=r"^CORE: evaluate.core = .*bundle: .* Name one, or use off, auto or download\.$"
    ):
        start(prepare(config), "one")
    assert not (home / "runs" / "one").exists()
    assert refused(with_changes(config, {"pipeline.stages": ["pretrain"]})) == []  # nobody asks for it
    for setting in ("off", "auto", "download"):
        assert refused(with_changes(config, {"evaluate.core": setting})) == []
    bundle = tmp_path / "bundle"
    (bundle / "eval_data").mkdir(parents=True)
    (bundle / "core.yaml").write_text("icl_tasks: []")
    (bundle / "eval_meta_data.csv").write_text("")
    assert refused(config) == []


@pytest.mark.parametrize("stage", ["sft", "midtrain"])
def test_conversations_that_are_not_there_are_refused(home: Path, tmp_path: Path, stage: str) -> None:
    talks, text = tmp_path / "talks.jsonl", tmp_path / "talks.txt"
    sources = f"{stage}__sources"
    stages = ["tokenize", "pretrain", stage]
    config = config_of("quickstart", pipeline__stages=stages, **{sources: ["builtin", f"{talks}:100"]})
    ((name, finding),) = refused(config)
    assert name == "conversations" and finding.startswith(f"{stage}.sources: {talks}: No such file")
    talks.write_text("")
    assert refused(config) == []  # what is in it is seen when it is read
    text.write_text("")
    wrong = with_changes(config, {f"{stage}.sources": [str(text)]})
    assert "neither .jsonl nor .parquet" in refused(wrong)[0][1]
    assert refused(with_changes(wrong, {"pipeline.stages": ["pretrain"]})) == []
    typo = with_changes(config, {f"{stage}.sources": ["smoltlk"]})
    checks = by_name(preflight(typo, plan_of(typo, cpu(2, 8 * GIB)), probe_machine()))
    assert "smoltalk" in checks["conversations"].help
    remote = with_changes(config, {f"{stage}.sources": ["smoltalk:10", "hf:someone/talks", "gsm8k"]})
    assert "conversations" not in by_name(preflight(remote, plan_of(remote, cpu(2, 8 * GIB)), probe_machine()))


def test_only_stages_that_will_run_are_looked_at(home: Path, tmp_path: Path) -> None:
    config = config_of("quickstart", sft__sources=[str(tmp_path / "gone.jsonl")])
    plan = plan_of(config, cpu(2, 8 * GIB))
    assert [
        c.subject for c in preflight(config, plan, probe_machine(), stages=("report",)) if c.severity == "error"
    ] == []
    assert [c.subject for c in preflight(config, plan, probe_machine(), stages=("sft",)) if c.severity == "error"] == [
        "conversations"
    ]


def test_paths_of_sources_mean_the_same_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_of(
        "quickstart",
        evaluate__core="bundle.zip",
        sft__sources=["talks.jsonl:10", "builtin", "smoltalk:5", "smoltlk", "hf:a/b"],
        midtrain__sources=["dir/talks.parquet"],
    )
    found = with_absolute_paths(config)
    assert found.evaluate.core == str(tmp_path / "bundle.zip")
    assert found.sft.sources == (f"{tmp_path}/talks.jsonl:10", "builtin", "smoltalk:5", "smoltlk", "hf:a/b")
    assert found.midtrain.sources == (f"{tmp_path}/dir/talks.parquet",)
    assert with_absolute_paths(found) == found
    assert with_absolute_paths(config_of("quickstart")) == config_of("quickstart")


def test_a_launch_has_as_problems_what_a_start_refuses(home: Path, gpu: FakeNvml, tmp_path: Path) -> None:
    gpu.lost = True
    for changes in (
        {"pipeline__stages": ["sft"]},
        {"runtime__gpu": "a100-40gb", "runtime__device": "auto"},
        {"evaluate__core": str(tmp_path)},
        {"data__source": "local", "data__paths": [str(tmp_path / "no")]},
    ):
        config = config_of("quickstart", **changes)
        problems = prepare(config).problems
        with pytest.raises(UsageError) as error:
            start(prepare(config), "one")
        assert problems and problems[0].message in str(error.value), changes
    assert not (home / "runs").exists()
