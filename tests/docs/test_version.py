"""The version is in one place, and packages say that they have types."""

import subprocess
import sys
import tomllib
from importlib.metadata import version

import engine
from tests.docs.test_links import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_is_in_one_place() -> None:
    assert "version" not in PROJECT["project"] and "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "engine/__init__.py"
    program = "from tui.cli.main import entry; entry()"
    done = subprocess.run(
        (sys.executable, "-c", program, "--version"), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"nanosolo {engine.__version__}\n"
    assert version("nanosolo") == engine.__version__


def test_every_package_of_the_wheel_is_typed() -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [name for name in packages if not (ROOT / name / "py.typed").is_file()] == []
