"""A sandbox for the install script: few commands, fake Pythons and GPUs, and an index with small wheels.

Real: bash, the script, Python, virtual environments, pip. Stand-ins: nanosolo itself (a package of one file), torch
(wheels of a few bytes), PyTorch's index and PyPI (folders), nvidia-smi, and a Python whose venv is missing.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
COMMANDS = (
    "bash cat chmod cksum df awk dirname env find flock grep id ln ls mkdir mv paste rm sed sleep sort timeout touch tr"
)
RELEASE = "2.13.0"
WHEEL = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

PYPROJECT = f"""
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "nanosolo"
dependencies = [
    "torch=={RELEASE}",
]
"""

# Builds an editable wheel with nothing but the standard library.
BACKEND = f'''
import zipfile
from pathlib import Path

METADATA = """Metadata-Version: 2.1
Name: nanosolo
Version: 0.1
Requires-Dist: torch=={RELEASE}
Provides-Extra: dev
Provides-Extra: serve
Requires-Dist: testing-tool; extra == "dev"
"""


WHEEL = """{WHEEL}"""


def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "nanosolo-0.1-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / name, "w") as wheel:
        for file, text in {{
            "fake_nanosolo.py": Path("fake_nanosolo.py").read_text(),
            "nanosolo-0.1.dist-info/METADATA": METADATA,
            "nanosolo-0.1.dist-info/WHEEL": WHEEL,
            "nanosolo-0.1.dist-info/entry_points.txt": "[console_scripts]\\nnanosolo = fake_nanosolo:main\\n",
            "nanosolo-0.1.dist-info/RECORD": "",
        }}.items():
            wheel.writestr(file, text)
    return name
'''

NANOSOLO = """
import sys


def main():
    if sys.argv[1] == "plan":
        print('{"preset": "quickstart"}')
    else:
        print("ran", *sys.argv[1:])
"""


def write_wheel(index: Path, name: str, version: str) -> None:
    """Write a package of one module to a folder that pip can use as an index."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}.py", f"__version__ = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", WHEEL)
        wheel.writestr(f"{info}/RECORD", "")
    links = (f'<a href="{path.name}">{path.name}</a>\n' for path in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")


def write_command(path: Path, text: str) -> None:
    """Write an executable bash script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


class Sandbox:
    """A checkout, a separate PATH, and two indexes."""

    def __init__(self, root: Path, template: Path) -> None:
        self.root, self.template = root, template
        self.checkout, self.bin, self.home = root / "checkout", root / "bin", root / "home"
        self.pytorch, self.pypi = root / "pytorch", root / "pypi"
        self.venv = self.checkout / ".venv"
        self.pip_log = root / "pip.log"
        self.home.mkdir(parents=True)
        self.bin.mkdir()
        for name in COMMANDS.split():
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self._write_checkout()
        self.add_python("python3")
        for tag in ("cpu", "cu126"):
            write_wheel(self.pytorch / tag, "torch", f"{RELEASE}+{tag}")
        write_wheel(self.pypi, "torch", RELEASE)
        write_wheel(self.pypi, "testing-tool", "1.0")

    def _write_checkout(self) -> None:
        hardware = self.checkout / "engine" / "hardware"
        hardware.mkdir(parents=True)
        shutil.copy(REPOSITORY / "run_single_a100.sh", self.checkout)
        for file in ("engine/__init__.py", "engine/hardware/__init__.py", "engine/hardware/torch_choice.py"):
            shutil.copy(REPOSITORY / file, self.checkout / file)
        drivers = (REPOSITORY / "engine/hardware/drivers.py").read_text()
        assert drivers.count("https://download.pytorch.org/whl") == 1
        (hardware / "drivers.py").write_text(drivers.replace("https://download.pytorch.org/whl", self.pytorch.as_uri()))
        (self.checkout / "pyproject.toml").write_text(PYPROJECT)
        (self.checkout / "backend.py").write_text(BACKEND)
        (self.checkout / "fake_nanosolo.py").write_text(NANOSOLO)

    def add_python(self, name: str, venv: str = "works", version: str = "") -> None:
        """Add a Python to PATH. `venv`: works, missing (as on Debian: creates half of it), or slow (then waits).

        If it works, it copies an existing virtual environment, which is faster.
        """
        half = f'mkdir -p "$3/bin" && ln -sf {sys.executable} "$3/bin/python" && touch "$3/pyvenv.cfg"'
        made = f'cp -a "{self.template}/." "$3"'
        make = {"works": made, "missing": f"{half}; exit 1", "slow": f"{half}; sleep 60"}[venv]
        refuse = f'[ "$1" = -c ] && exit {1 if version else 0}' if version else ":"
        says = f'[ "$1" = --version ] && {{ echo "Python {version}"; exit; }}' if version else ":"
        (self.bin / "cp").unlink(missing_ok=True)
        (self.bin / "cp").symlink_to(shutil.which("cp") or "cp")
        text = f'{says}\n{refuse}\nif [ "$2" = venv ]; then {make}; exit; fi\nexec {sys.executable} "$@"'
        write_command(self.bin / name, text)

    def add_gpu(self, driver: str, capability: str = "8.0", name: str = "NVIDIA A100-SXM4-40GB") -> None:
        """Add an nvidia-smi that finds this GPU."""
        text = f"""case "$1" in
    *driver_version,compute_cap,name) echo "{driver}, {capability}, {name}" ;;
    *) exit 2 ;;
esac"""
        write_command(self.bin / "nvidia-smi", text)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment: only these pip settings, no locale."""
        return {
            "PATH": str(self.bin),
            "HOME": str(self.home),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.pypi.as_uri(),
            "PIP_NO_CACHE_DIR": "1",
            "PIP_NO_COMPILE": "1",
            "PIP_LOG": str(self.pip_log),
            **more,
        }

    def run(self, *arguments: str, cwd: Path | None = None, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run the script."""
        return subprocess.run(
            [str(self.bin / "bash"), str(self.checkout / "run_single_a100.sh"), *arguments],
            cwd=cwd or self.checkout,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def setup(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Install. Raises AssertionError if that fails."""
        done = self.run("--setup", *arguments, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def torch(self) -> str:
        """The installed version of torch."""
        found = self.venv.glob("lib/python3*/site-packages/torch-*.dist-info")
        return ", ".join(path.name.removeprefix("torch-").removesuffix(".dist-info") for path in found)

    def pip_calls(self) -> int:
        """The number of lines in pip's log. It grows with each use of pip."""
        return len(self.pip_log.read_text().splitlines()) if self.pip_log.exists() else 0
