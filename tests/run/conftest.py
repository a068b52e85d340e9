"""Fixtures for runs."""

import sys

import pytest

from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.stand_in_runs import home, make_run

__all__ = ["home", "make_run"]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A machine with a GPU, as far as NVML tells."""
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake
