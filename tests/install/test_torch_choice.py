"""Which build of torch is chosen, and how the GPU is detected."""

from pathlib import Path

import pytest

import engine.hardware.torch_choice as torch_choice
from engine.hardware.drivers import INDEX
from engine.hardware.torch_choice import Choice, FoundGpu, Refusal, choose, describe, find_gpu
from tests.helpers.sandbox import write_command

CPU, CU126 = f"{INDEX}/cpu", f"{INDEX}/cu126"


def gpu(driver: str, capability: tuple[int, int] | None = (8, 0)) -> FoundGpu:
    return FoundGpu("A GPU", driver, capability)


@pytest.mark.parametrize(
    ("system", "found", "source"),
    [
        ("Linux", None, CPU),
        ("Linux", gpu("580.65.06"), "default"),
        ("Linux", gpu("580.65.06", None), "default"),
        ("Linux", gpu("570.86.15"), CU126),
        ("Linux", gpu("525.60.13"), CU126),
        ("Linux", gpu("590.1", (7, 0)), CU126),  # Volta: the newer build does not support it
        ("Darwin", None, "default"),  # the only build
    ],
)
def test_the_machine_decides(system: str, found: FoundGpu | None, source: str) -> None:
    assert choose(system, found)[:2] == (source, "machine")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (gpu("525.60.12"), "has driver 525.60.12; torch needs 525.60.13 or newer"),
        (gpu("570.86.15", (12, 0)), "has driver 570.86.15; torch needs 580.65.06 or newer"),  # Blackwell
        (gpu("590.1", (3, 7)), "no build of torch has code for A GPU"),
    ],
)
def test_what_no_build_serves_is_refused(found: FoundGpu, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        choose("Linux", found)
    assert choose("Linux", found, "cpu").source == CPU


@pytest.mark.parametrize(
    ("had", "found", "source"),
    [
        (CPU, None, CPU),
        (CPU, gpu("580.65.06"), "default"),
        ("default", gpu("570.86.15"), CU126),
        ("default", None, "default"),
        (CU126, gpu("590.1"), CU126),
        (CU126, gpu("590.1", (12, 0)), "default"),
        (CU126, None, CU126),
    ],
)
def test_what_is_installed_stays_as_long_as_it_works(had: str, found: FoundGpu | None, source: str) -> None:
    assert choose("Linux", found, had=Choice(had, "machine")).source == source


def test_the_users_word_stays_until_another() -> None:
    had = choose("Linux", gpu("580.65.06"), "cu126")
    assert (had.source, had.by) == (CU126, "user")
    assert choose("Linux", gpu("580.65.06"), had=had)[:2] == had[:2]
    assert choose("Linux", gpu("580.65.06"), "auto", had)[:2] == ("default", "machine")


@pytest.mark.parametrize(
    ("asked", "source", "tag"),
    [
        ("default", "default", ""),
        ("cu130", f"{INDEX}/cu130", "cu130"),
        ("https://mirror.example/pytorch/whl/cu126/", "https://mirror.example/pytorch/whl/cu126/", "cu126"),
        ("https://mirror.example/simple", "https://mirror.example/simple", ""),
        ("/srv/wheels", "file:///srv/wheels", ""),
    ],
)
def test_forms_of_torch_index(asked: str, source: str, tag: str) -> None:
    choice = choose("Linux", None, asked)
    assert (choice.source, choice.tag) == (source, tag)


def test_what_is_taken_is_described_with_size_and_reason() -> None:
    choice = choose("Linux", gpu("535.129.03"))
    assert describe(choice) == (
        f"torch: the CUDA 12.6 build of {CU126}, about 3 GB to download. Why: A GPU, driver 535.129.03; "
        "the CUDA 13.0 build needs driver 580.65.06 or newer"
    )
    unknown = choose("Linux", None, "https://mirror.example/simple")
    assert describe(unknown) == "torch: the build of https://mirror.example/simple. Why: TORCH_INDEX asks for it"


ANSWERS = {
    "a GPU": ('echo "570.86.15, 8.0, NVIDIA A100 80GB PCIe"', FoundGpu("NVIDIA A100 80GB PCIe", "570.86.15", (8, 0))),
    "two": ('echo "590.1, 9.0, H100"; echo "590.1, 8.0, A100"', FoundGpu("H100", "590.1", (9, 0))),
    "a driver that knows no compute_cap": (
        'case "$1" in *compute_cap*) echo "Field is not valid"; exit 2;; esac; echo "450.80.02, 450.80.02, A100"',
        FoundGpu("A100", "450.80.02", None),
    ),
    "none": ('echo "No devices were found"; exit 6', None),
    "no driver": ('echo "NVIDIA-SMI has failed"; exit 9', None),
    "an answer of another kind": ("echo what", None),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_nvidia_smi_is_asked(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, expected = ANSWERS[answer]
    write_command(tmp_path / "nvidia-smi", text)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(torch_choice, "KERNEL_MODULE", tmp_path / "none")
    assert find_gpu() == expected


def test_the_kernel_module_tells_where_nvidia_smi_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_command(tmp_path / "nvidia-smi", 'echo "Failed to initialize NVML: Driver/library version mismatch"; exit 18')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    module = tmp_path / "version"
    module.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n")
    monkeypatch.setattr(torch_choice, "KERNEL_MODULE", module)
    monkeypatch.setattr(torch_choice, "DEVICES", tmp_path)
    assert find_gpu() is None  # a driver without a device
    (tmp_path / "nvidia0").touch()
    assert find_gpu() == FoundGpu("NVIDIA GPU", "535.129.03", None)
    module.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n")
    assert find_gpu() == FoundGpu("NVIDIA GPU", "580.65.06", None)
