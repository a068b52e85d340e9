"""The console's tests see no GPU, whatever machine they run on: what it shows first depends on it."""

import pytest


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the processes that a test starts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
