"""The import contracts hold, a wrong import breaks them, and docs/architecture.md says what they say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import import_contracts
from tests.helpers.import_contracts import ROOT, contracts

LINTER = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages in `folder`."""
    return subprocess.run(
        [sys.executable, "-c", LINTER, "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their contracts, to break."""
    for name in ("engine", "tui", "presets"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold_without_ignores() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert not [contract["id"] for contract in contracts() if "ignore_imports" in contract]
    assert all(contract["broken_contract_guidance"] for contract in contracts())


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("engine/core/units.py", "import tui.actions", "console-above-engine"),
        ("engine/plan/scaling.py", "from engine.run import directory", "engine-layers"),
        ("engine/core/units.py", "def f():\n    from engine.stages import rl", "engine-layers"),
        ("tui/widgets/lines.py", "import tui.app", "console-layers"),
        ("engine/core/units.py", "from engine.core import formatting", "no-circles"),
        ("engine/plan/scaling.py", "import torch", "torch-only-where-models-are"),
        ("engine/plan/scaling.py", "import numpy", "plan-is-pure"),
        ("engine/report/excerpts.py", "import textual", "textual-only-in-the-console"),
    ],
)
def test_a_wrong_import_breaks_its_contract(copy: Path, module: str, line: str, broken: str) -> None:
    with (copy / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint(copy)
    name = next(contract["name"] for contract in contracts() if contract["id"] == broken)
    assert done.returncode == 1
    assert f"{name} BROKEN" in done.stdout


def test_a_folder_without_a_place_breaks_the_contract(copy: Path) -> None:
    (copy / "engine" / "extra").mkdir()
    (copy / "engine" / "extra" / "__init__.py").write_text("")
    assert lint(copy).returncode == 1


def test_the_page_says_what_the_contracts_say() -> None:
    page = import_contracts.PAGE.read_text()
    assert page == import_contracts.page_with(import_contracts.section()), (
        "run: python -m tests.helpers.import_contracts"
    )
