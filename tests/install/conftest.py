"""The sandbox, and one virtual environment that all tests copy."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.sandbox import Sandbox


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with pip."""
    folder = tmp_path_factory.mktemp("template") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def sandbox(tmp_path: Path, template: Path) -> Sandbox:
    """A machine with bash and Python, and nothing installed."""
    return Sandbox(tmp_path, template)
