"""Programs of a model run within limits, and pass only when they come to their end."""

from pathlib import Path

import pytest

from engine.evaluate.chat.problems import program_of
from engine.evaluate.chat.sandbox import passes


def test_a_program_passes_when_it_ends_and_its_tests_hold() -> None:
    assert passes("def add(a, b):\n    return a + b\n\nassert add(2, 2) == 4\n", seconds=60)
    assert passes("import math, collections, re, itertools\nassert math.sqrt(9) == 3", seconds=60)


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 == 2",
        "def broken(:",
        "raise SystemExit(0)",  # leaving early is no pass
        "import os; os._exit(0)",
        "import sys; sys.exit()",
        "print(0); raise KeyboardInterrupt",
        "import socket; socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.fork()",
        "open('kept.txt', 'w').write('x')",
        "import os; os.remove('/nowhere')",
        "import shutil; shutil.rmtree('/nowhere')",
        "x = bytearray(4 * 2**30)",
    ],
)
def test_what_fails_leaves_early_or_breaks_a_limit_does_not_pass(program: str) -> None:
    assert not passes(program)


def test_a_program_that_does_not_end_is_ended() -> None:
    assert not passes("while True: pass", seconds=1)
    assert not passes("import time; time.sleep(60)", seconds=1)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    target = tmp_path / "written"
    assert not passes(f"open({str(target)!r}, 'w')")
    assert not passes(f"import os; os.open({str(target)!r}, os.O_CREAT | os.O_WRONLY)")
    assert not passes(f"import pathlib; pathlib.Path({str(target)!r}).touch()")
    assert not target.exists()


def test_the_program_of_an_answer() -> None:
    assert program_of("Here:\n```python\nx = 1\n```\nDone") == "x = 1\n"
    assert program_of("```\nx = 1\n```") == "x = 1\n"
    assert program_of("x = 1") == "x = 1"
    assert program_of("```x = 1```") == "x = 1"
