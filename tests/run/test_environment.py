"""What processes that run torch are given: caches in the home, threads by the usable cores, and what the user set."""

import os
from pathlib import Path

import pytest

from engine.run import environment
from engine.run.environment import prepare_this_process, torch_environment

NAMES = (
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "TRITON_CACHE_DIR",
    "TRITON_HOME",
    "CUDA_DEVICE_ORDER",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_what_is_compiled_is_kept_in_the_home(home: Path) -> None:
    found = torch_environment()
    assert found["TORCHINDUCTOR_CACHE_DIR"] == str(home / "cache" / "inductor")
    assert found["TRITON_CACHE_DIR"] == str(home / "cache" / "triton")
    assert found["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert not (home / "cache").exists()  # torch makes it when there is something to keep


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (12, "12"), (128, "32")])
def test_compile_threads_follow_the_usable_cores(
    home: Path, monkeypatch: pytest.MonkeyPatch, cores: int, threads: str
) -> None:
    monkeypatch.setattr(environment, "usable_cores", lambda: cores)
    assert torch_environment()["TORCHINDUCTOR_COMPILE_THREADS"] == threads


def test_what_the_user_has_set_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "mine")
    assert {torch_environment()[name] for name in NAMES} == {"mine"}


def test_one_variable_of_the_user_does_not_hide_behind_ours(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_HOME", "/fast")  # Triton looks there unless TRITON_CACHE_DIR says otherwise
    assert "TRITON_CACHE_DIR" not in torch_environment()


def test_cublas_is_told_to_repeat_itself_only_when_that_is_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.delenv(name, raising=False)
    assert name not in torch_environment()
    assert torch_environment(deterministic=True)[name] == ":4096:8"
    monkeypatch.setenv(name, ":16:8")
    assert torch_environment(deterministic=True)[name] == ":16:8"


def test_a_process_can_take_it_for_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.os, "environ", dict(os.environ))
    prepare_this_process()
    assert environment.os.environ["TRITON_CACHE_DIR"] == str(home / "cache" / "triton")
