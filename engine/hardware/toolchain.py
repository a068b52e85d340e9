"""What torch.compile needs besides torch: compilers and Python's headers, looked for exactly as Triton and Inductor do.

Triton (for CUDA) builds a small C program: $CC, else gcc, else clang; a bare `cc` is not looked for. Inductor (for the
CPU) builds C++: $CXX, else g++. Both include Python.h. See triton/runtime/build.py and torch/_inductor/cpp_builder.py.
"""

import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

from engine.core.diagnostic import Diagnostic, failure

WITHOUT = 'run without: --set runtime.compile="off"'

# the first one found installs what is missing: command, C, C++, and the headers of a version of Python
_MANAGERS: dict[str, tuple[str, str, str, str]] = {
    "apt-get": ("apt-get install -y", "gcc libc6-dev", "g++", "python{major}.{minor}-dev"),
    "dnf": ("dnf install -y", "gcc", "gcc-c++", "python{major}.{minor}-devel"),
    "yum": ("yum install -y", "gcc", "gcc-c++", "python{major}.{minor}-devel"),
    "zypper": ("zypper install -y", "gcc", "gcc-c++", "python{major}{minor}-devel"),
    "pacman": ("pacman -S --noconfirm", "gcc", "gcc", "python"),
    "apk": ("apk add", "gcc musl-dev", "g++", "python3-dev"),
}


class Toolchain(NamedTuple):
    """The tools found for torch.compile."""

    c: str | None  # the compiler that Triton calls
    cxx: str | None  # the compiler that Inductor calls for the CPU
    headers: bool  # Python.h
    manager: str | None = None  # the package manager
    root: bool = True

    def missing(self, cuda: bool) -> list[str]:
        """What is missing for torch.compile, in words."""
        what = ("a C compiler (gcc, clang or $CC)", self.c) if cuda else ("a C++ compiler (g++ or $CXX)", self.cxx)
        return [name for name, there in (what, ("Python's headers (Python.h)", self.headers)) if not there]

    def fix(self, cuda: bool) -> str:
        """The command that installs what is missing; what to install, where no package manager is known."""
        lacks_compiler = not (self.c if cuda else self.cxx)
        if self.manager is None:
            return "install gcc and Python's headers" if cuda else "install g++ and Python's headers"
        command, c, cxx, headers = _MANAGERS[self.manager]
        names = [c if cuda else cxx] if lacks_compiler else []
        if not self.headers:
            names.append(headers.format(major=sys.version_info.major, minor=sys.version_info.minor))
        sudo = "" if self.root else "sudo "
        update = f"{sudo}apt-get update && " if self.manager == "apt-get" else ""
        return f"install what is missing: `{update}{sudo}{command} {' '.join(names)}`"


def find_toolchain() -> Toolchain:
    """Look, in a millisecond."""
    return Toolchain(
        c=_c_compiler(),
        cxx=shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")),
        headers=os.access(_python_header(), os.R_OK),
        manager=next((name for name in _MANAGERS if shutil.which(name)), None),
        root=os.geteuid() == 0,
    )


def build_fault(error: str, tools: Toolchain) -> Diagnostic:
    """Why Triton cannot start, from its error and the tools found."""
    lacks = tools.missing(cuda=True)
    if lacks:
        what = f"torch.compile needs {' and '.join(lacks)}, not found here"
        fix = tools.fix(cuda=True)
        return failure("no_compiler", what, f"{fix[:1].upper()}{fix[1:]}, or {WITHOUT}")
    if re.search(r"failed to map segment|Operation not permitted|Permission denied|Read-only", error):
        what = f"the output of torch.compile cannot be stored or loaded: {_first_line(error)}"
        return failure("cache_unusable", what, "Set TRITON_CACHE_DIR to a folder on a disk that is not mounted noexec")
    if "returned non-zero exit status" in error:
        status = re.search(r"returned non-zero (exit status \d+)", error)
        said = error.partition("CalledProcessError")[0].strip() or (status[1] if status else "")
        what = f"the C compiler {tools.c} fails: {_first_line(said)}"
        return failure("compiler_fails", what, f"Reinstall it, set CC to another compiler, or {WITHOUT}")
    if "libcuda.so" in error:
        what = "Triton cannot find the driver's CUDA library (libcuda.so.1)"
        return failure(
            "no_libcuda", what, "Run ldconfig as root, or set TRITON_LIBCUDA_PATH to the folder that contains it"
        )
    return failure("triton_fails", f"torch.compile cannot start: {_first_line(error)}", f"To {WITHOUT}")


def _c_compiler() -> str | None:
    named = os.environ.get("CC")
    if named is not None:  # taken as it is, arguments and all; it is no command line
        return shutil.which(named)
    return shutil.which("gcc") or shutil.which("clang")


def _python_header() -> Path:
    scheme = sysconfig.get_default_scheme()
    paths = sysconfig.get_paths(scheme="posix_prefix" if scheme == "posix_local" else scheme)
    return Path(paths["include"]) / "Python.h"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
