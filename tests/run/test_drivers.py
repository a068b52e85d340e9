"""Which build of torch suits a driver, and the exact command that every check of it prints."""

import sys
import types
from importlib import metadata
from pathlib import Path

import pytest

import engine.hardware.drivers as drivers
from engine.diagnostics.driver_checks import check_driver, wanted_torch
from engine.hardware import probe_machine as probes
from engine.hardware.drivers import wheel_for
from engine.hardware.probe_machine import TorchBuild, probe_gpu, torch_build
from tests.helpers.fake_nvml import FakeNvml

CUDA_13, CUDA_12 = TorchBuild("2.13.0+cu130", (13, 0)), TorchBuild("2.13.0+cu126", (12, 6))
PIP = f"{sys.executable} -m pip install"


@pytest.mark.parametrize(
    ("driver", "tag"),
    [
        ("580.65.06", "cu130"),
        ("590.1", "cu130"),
        ("580.65.05", "cu126"),
        ("570.86.15", "cu126"),
        ("535.274.02", "cu126"),
        ("525.60.13", "cu126"),
        ("525.60.12", None),
        ("470.256.02", None),
    ],
)
def test_the_newest_build_that_a_driver_runs_is_chosen(driver: str, tag: str | None) -> None:
    wheel = wheel_for(driver)
    assert (wheel.tag if wheel else None) == tag


def test_a_build_must_hold_code_for_the_gpu() -> None:
    assert wheel_for("590.1", (12, 0)) == drivers.WHEELS[0]
    assert wheel_for("570.86.15", (12, 0)) is None  # Blackwell; the older build ends at Hopper
    assert wheel_for("590.1", (7, 0)) == drivers.WHEELS[1]  # Volta; the newer build begins at Turing


@pytest.mark.parametrize(
    ("state", "torch", "finding", "action"),
    [
        (
            {"driver": "570.86.15", "cuda": 12080},
            CUDA_13,
            "driver 570.86.15 runs CUDA up to 12.8, but torch 2.13.0+cu130 is built for CUDA 13.0 and needs driver "
            "580.65.06 or newer",
            f"install the matching build with `{PIP} torch==2.13.0+cu126 --index-url "
            "https://download.pytorch.org/whl/cu126`; or update the driver to 580.65.06 or newer",
        ),
        (
            {},
            TorchBuild("2.13.0+cpu", None),
            "torch 2.13.0+cpu is a build for CPUs and cannot use NVIDIA A100-SXM4-40GB",
            f"install the matching build with `{PIP} torch==2.13.0+cu130 --index-url "
            "https://download.pytorch.org/whl/cu130`; to train on the CPU: --gpu cpu",
        ),
        (
            {"driver": "470.256.02", "cuda": 11040},
            CUDA_12,
            "driver 470.256.02 runs CUDA up to 11.4, but torch 2.13.0+cu126 is built for CUDA 12.6 and needs driver "
            "525.60.13 or newer",
            "update the driver to 580.65.06 or newer, or use a machine that has it",
        ),
        (
            {"name": "Tesla V100-SXM2-16GB", "capability": (7, 0)},
            CUDA_13,
            "torch 2.13.0+cu130 is built for CUDA 13.0, which has no code for Tesla V100-SXM2-16GB",
            f"install the matching build with `{PIP} torch==2.13.0+cu126 --index-url "
            "https://download.pytorch.org/whl/cu126`",
        ),
        (
            {"name": "Tesla K80", "capability": (3, 7)},
            CUDA_13,
            "torch 2.13.0+cu130 is built for CUDA 13.0, which has no code for Tesla K80",
            "no build of torch has code for Tesla K80: use a newer GPU",
        ),
        (
            {},
            None,
            "torch is not installed",
            f"install the matching build with `{PIP} torch=={wanted_torch()}+cu130 --index-url "
            "https://download.pytorch.org/whl/cu130`",
        ),
    ],
)
def test_a_mismatch_is_refused_with_the_command_that_ends_it(
    gpu: FakeNvml, state: dict[str, object], torch: TorchBuild | None, finding: str, action: str
) -> None:
    for key, value in state.items():
        setattr(gpu, key, value)
    check = check_driver(probe_gpu(), torch)
    assert check is not None
    assert (check.severity, check.message, check.help) == ("error", finding, action)


def test_without_pip_the_command_is_for_uv() -> None:
    command = drivers.install_command(drivers.WHEELS[1], "2.13.0+cpu", "/venv/bin/python", has_pip=False)
    assert command.startswith("uv pip install --python /venv/bin/python torch==2.13.0+cu126 --index-url ")


def test_a_build_that_fits_is_no_problem(gpu: FakeNvml) -> None:
    for torch in (CUDA_13, CUDA_12, TorchBuild("2.9.0", (12, 8))):
        check = check_driver(probe_gpu(), torch)
        assert check is not None and check.severity == "ok"


def test_the_release_is_the_one_that_the_project_pins() -> None:
    assert f"torch=={wanted_torch()}" in (metadata.requires("nanosolo") or [])


@pytest.mark.parametrize(
    ("line", "cuda"),
    [
        ("cuda: Optional[str] = '13.0'", (13, 0)),
        ('cuda = "12.8"', (12, 8)),
        ("cuda: Optional[str] = None", None),
        ("", None),
    ],
)
def test_torch_says_its_cuda_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, cuda: tuple[int, int] | None
) -> None:
    before = "torch" in sys.modules
    assert torch_build() is not None
    assert ("torch" in sys.modules) == before
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '9.9'\ndebug = False\n{line}\nhip = None\n")
    found = types.SimpleNamespace(version="9.9", locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr(probes.metadata, "distribution", lambda _: found)
    assert torch_build() == TorchBuild("9.9", cuda)
