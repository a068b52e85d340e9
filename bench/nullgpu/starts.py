"""A scenario of machines whose GPU does not work: what `nanosolo doctor` says of each, through torch's own failure."""

import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from findings import Check
from session import PATIENCE, Session

from engine.errors import EXIT_CRASHED, EXIT_DONE


class Machine(NamedTuple):
    """A variable of the null GPU, and what is said of the machine that it makes."""

    variable: str
    value: str
    words: str
    code: int = EXIT_CRASHED


MACHINES = (
    Machine("NULLGPU_DRIVER", "580.95.05", "torch can use NVIDIA A100-SXM4-40GB", EXIT_DONE),
    Machine("NULLGPU_DRIVER", "550.54.15", "driver 550.54.15 is too old"),
    Machine("NULLGPU_CUDA_ERROR", "802", "fabric manager"),
    Machine("NULLGPU_CUDA_ERROR", "803", "different versions"),
    Machine("NULLGPU_CUDA_ERROR", "999", "nvidia"),
    Machine("NULLGPU_MIG", "none", "no slice of it is made"),
    Machine("NULLGPU_MIG", "3g.20gb", "MIG 3g.20gb", EXIT_DONE),
    Machine("NULLGPU_COMPUTE_MODE", "2", "may not be used at all"),
    Machine("NULLGPU_FABRIC", "3", "torch can use", EXIT_DONE),  # no expandable segments: it goes on without
)


def starts(session: Session) -> Iterator[Check]:
    """What doctor says where CUDA does not start: the cause in words, an exit code, never a traceback."""
    for machine in MACHINES:
        with session.process(
            "starts", "doctor", env={machine.variable: machine.value}, stdout=subprocess.PIPE
        ) as process:
            said = process.communicate(timeout=PATIENCE)[0].decode()
        name = f"{machine.variable.removeprefix('NULLGPU_')} {machine.value}"
        told = machine.words in said and "Traceback" not in said
        yield Check(
            "starts",
            f"exit code, {name}",
            str(process.returncode),
            str(machine.code),
            process.returncode == machine.code,
        )
        yield Check("starts", f"words, {name}", "said" if told else "not said", machine.words, told)
