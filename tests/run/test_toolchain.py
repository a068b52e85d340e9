"""What torch.compile builds with: the same look-ups as Triton's and Inductor's, and the command that installs it."""

import sys
from pathlib import Path

import pytest

from engine.hardware import toolchain
from engine.hardware.toolchain import Toolchain, build_fault, find_toolchain

ALL = Toolchain("/usr/bin/gcc", "/usr/bin/g++", headers=True, manager="apt-get", root=True)
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH, without CC and CXX."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def put(path: Path, *names: str) -> None:
    for name in names:
        (path / name).write_text("#!/bin/sh\n")
        (path / name).chmod(0o755)


@pytest.mark.parametrize(
    ("there", "c", "cxx"),
    [
        ((), None, None),
        (("cc", "c++"), None, None),  # neither looks for these
        (("clang",), "clang", None),
        (("clang", "gcc"), "gcc", None),
        (("gcc", "g++"), "gcc", "g++"),
        (("g++",), None, "g++"),
    ],
)
def test_compilers_are_looked_for_as_triton_and_inductor_do(
    path: Path, there: tuple[str, ...], c: str | None, cxx: str | None
) -> None:
    put(path, *there)
    found = find_toolchain()
    assert found.c == (c and str(path / c))
    assert found.cxx == (cxx and str(path / cxx))
    assert bool(found.missing(cuda=True)) == (c is None)
    assert bool(found.missing(cuda=False)) == (cxx is None)


def test_named_compilers_are_taken_as_they_are(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(path, "gcc", "g++", "mine")
    monkeypatch.setenv("CC", "mine")
    monkeypatch.setenv("CXX", "gone")
    assert (find_toolchain().c, find_toolchain().cxx) == (str(path / "mine"), None)
    monkeypatch.setenv("CC", "ccache gcc")  # Triton runs this as one word
    assert find_toolchain().c is None


@pytest.mark.parametrize(
    ("lacks", "manager", "root", "command"),
    [
        ({"c": None}, "apt-get", True, "apt-get update && apt-get install -y gcc libc6-dev"),
        ({"headers": False}, "apt-get", False, f"sudo apt-get update && sudo apt-get install -y python{PYTHON}-dev"),
        ({"c": None, "headers": False}, "dnf", True, f"dnf install -y gcc python{PYTHON}-devel"),
        ({"c": None, "headers": False}, "apk", True, "apk add gcc musl-dev python3-dev"),
        ({"c": None}, "pacman", False, "sudo pacman -S --noconfirm gcc"),
    ],
)
def test_the_fix_is_a_command_of_the_package_manager_that_is_here(
    path: Path, lacks: dict[str, None], manager: str, root: bool, command: str
) -> None:
    put(path, manager)
    assert find_toolchain().manager == manager
    tools = ALL._replace(manager=manager, root=root, **lacks)
    assert tools.fix(cuda=True) == f"install what is missing: `{command}`"


def test_without_a_known_package_manager_the_fix_names_what_to_install() -> None:
    tools = ALL._replace(c=None, cxx=None, manager=None)
    assert tools.fix(cuda=True) == "install gcc and Python's headers"
    assert tools.fix(cuda=False) == "install g++ and Python's headers"
    assert ALL._replace(cxx=None).fix(cuda=False).endswith("apt-get install -y g++`")


def test_headers_are_looked_for_where_they_are_included_from(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemes: list[str] = []

    def paths(scheme: str) -> dict[str, str]:
        schemes.append(scheme)
        return {"include": str(tmp_path / "include")}

    monkeypatch.setattr(toolchain.sysconfig, "get_default_scheme", lambda: "posix_local")
    monkeypatch.setattr(toolchain.sysconfig, "get_paths", paths)
    assert not find_toolchain().headers
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    assert find_toolchain().headers
    assert set(schemes) == {"posix_prefix"}  # Debian's default is a scheme of its own, which Triton leaves as well


@pytest.mark.parametrize(
    ("error", "tools", "code", "says"),
    [
        ("RuntimeError: Failed to find C compiler.", ALL._replace(c=None), "no_compiler", "a C compiler (gcc, clang"),
        ("fatal error: Python.h: No such file", ALL._replace(headers=False), "no_compiler", "Python's headers"),
        (
            "ImportError: /x/cuda_utils.so: failed to map segment from shared object",
            ALL,
            "cache_unusable",
            "cannot be stored or loaded: ImportError: /x/cuda_utils.so: failed to map segment",
        ),
        ("PermissionError: [Errno 13] Permission denied: '/x'", ALL, "cache_unusable", "Permission denied"),
        ("AssertionError: libcuda.so cannot found!\nPlease make sure", ALL, "no_libcuda", "cannot find the driver's"),
        (
            "ld: cannot find -lc\nCalledProcessError: Command '['gcc', 'x', '-l:libcuda.so.1']' returned non-zero exit "
            "status 1.",
            ALL,
            "compiler_fails",
            "the C compiler /usr/bin/gcc fails: ld: cannot find -lc",
        ),
        (
            "CalledProcessError: Command '['gcc']' returned non-zero exit status 1.",
            ALL,
            "compiler_fails",
            "the C compiler /usr/bin/gcc fails: exit status 1",
        ),
        ("RuntimeError: 0 active drivers ([]).", ALL, "triton_fails", "0 active drivers"),
    ],
)
def test_why_triton_cannot_be_prepared(error: str, tools: Toolchain, code: str, says: str) -> None:
    fault = build_fault(error, tools)
    assert fault.code == code and says in fault.message
    assert "\n" not in str(fault)
