"""A fake driver and a fake torch: a real libcuda.so.1, built here, and a package named torch."""

import shutil
import subprocess
from pathlib import Path

import pytest

from engine.diagnostics import device_checks

SOURCES = Path(__file__).parent / "stand_in_torch"


@pytest.fixture(scope="session")
def cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libcuda.so.1 whose cuInit returns what STAND_IN_CUINIT says."""
    if shutil.which("cc") is None:
        pytest.skip("a C compiler builds the stand-in for libcuda")
    folder = tmp_path_factory.mktemp("cuda")
    source = str(SOURCES / "libcuda.c")
    subprocess.run(("cc", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), source), check=True)
    return folder


@pytest.fixture
def cuda(cuda_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make new processes use this driver and this torch. Returns a file that grows with each import of torch."""
    count = tmp_path / "count"
    count.touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(cuda_library))
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    monkeypatch.setenv("STAND_IN_COUNT", str(count))
    monkeypatch.setattr(device_checks, "_worked", {})
    return count
