"""What a training process says of its device's memory."""

import subprocess
import sys

BALLAST = 700 * 2**20  # bytes: more than a process that only imports torch holds

PARENT = f"""
import subprocess, sys
held = b"x" * {BALLAST}
child = "from engine.train.device import peak_memory; print(peak_memory('cpu'))"
subprocess.run([sys.executable, "-c", child], check=True)
"""

GROWN = f"""
from engine.train.device import peak_memory
before = peak_memory("cpu")
held = b"x" * {BALLAST}
del held
print(peak_memory("cpu") - before)
"""


def _printed(program: str) -> int:
    return int(subprocess.run((sys.executable, "-c", program), check=True, capture_output=True, text=True).stdout)


def test_the_peak_of_a_process_is_not_its_parents() -> None:
    assert 2**20 < _printed(PARENT) < BALLAST


def test_the_peak_stays_when_memory_is_given_back() -> None:
    assert BALLAST * 0.9 < _printed(GROWN) < BALLAST * 1.1
