"""Scenario of machines that cannot train: every start is refused with its cause before a run is created."""

from collections.abc import Iterator
from typing import NamedTuple

from findings import Check
from session import Session

from engine.core.errors import EXIT_USAGE

BUSY, NO_FABRIC_MANAGER, MISMATCH, UNKNOWN = "46", "802", "803", "999"  # of CUDA
NOT_LOADED, OTHER_VERSION = "9", "18"  # of NVML


class Refusal(NamedTuple):
    """A machine, set by the variables of the null GPU, and the message of a start on it."""

    machine: str
    variables: dict[str, str]
    says: str


REFUSALS = (
    Refusal("old driver", {"NULLGPU_DRIVER": "550.54.15"}, "torch==2.13.0+cu126 --index-url https://"),
    Refusal("no fabric manager", {"NULLGPU_CUDA_ERROR": NO_FABRIC_MANAGER}, "waits for the fabric manager"),
    Refusal("driver mismatch, CUDA", {"NULLGPU_CUDA_ERROR": MISMATCH}, "the CUDA library are of different versions"),
    Refusal("driver mismatch, NVML", {"NULLGPU_NVML_FAIL": OTHER_VERSION}, "its libraries are of different versions"),
    Refusal("no nvidia-uvm", {"NULLGPU_CUDA_ERROR": UNKNOWN}, "/dev/nvidia-uvm"),
    Refusal("driver not loaded", {"NULLGPU_NVML_FAIL": NOT_LOADED}, 'runtime.gpu = "a100-40gb": the '),
    Refusal("busy", {"NULLGPU_CUDA_ERROR": BUSY}, "the GPU is busy or unavailable"),
    Refusal("prohibited", {"NULLGPU_COMPUTE_MODE": "2"}, "compute mode prohibited"),
    Refusal("exclusive", {"NULLGPU_COMPUTE_MODE": "3", "NULLGPU_CUDA_ERROR": BUSY}, "compute mode exclusive"),
    Refusal("MIG without slices", {"NULLGPU_MIG": "none"}, "no slice of it is made"),
    Refusal("NVML without CUDA", {"LD_PRELOAD": ""}, "error: CUDA: "),
    Refusal("no compiler", {"CC": "no-such-compiler"}, "torch.compile needs a C compiler (gcc, clang or $CC)"),
    Refusal("broken compiler", {"CC": "/bin/false"}, "the C compiler /bin/false fails: exit status 1"),
)


def refusals(session: Session) -> Iterator[Check]:
    """Starts on machines that lack one thing each."""
    log = session.folder / "refusals.log"
    for number, (machine, variables, says) in enumerate(REFUSALS):
        name = f"refused-{number}"
        # a separate cache, so that it contains nothing that a compiler must build
        variables = {**variables, "TRITON_CACHE_DIR": str(session.folder / name)}
        before = log.stat().st_size if log.exists() else 0
        start = ("--preset", "smoke", "--gpu", "a100-40gb", "--set", "runtime.device=auto", "--name", name, "--detach")
        code = session.nanosolo("refusals", *start, env=variables)
        said = log.read_bytes()[before:].decode(errors="replace").splitlines()
        last = said[-1] if said else ""
        made = session.run(name).exists()
        held = code == EXIT_USAGE and says in last and not made
        found = f"exit code {code}, {'a run, ' if made else ''}{last}"
        yield Check("refusals", machine, found[:160], says, held)
