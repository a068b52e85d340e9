"""Modules and functions stay small, say what they are for, and have names that a reader does not confuse."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.import_contracts import ROOT

MOST_LINES, MOST_OF_A_FUNCTION = 350, 60
MODULES = [
    path for top in ("engine", "tui", "presets", "tests", "bench", "docs") for path in (ROOT / top).rglob("*.py")
]
COMMANDS = ROOT / "tui" / "cli" / "commands"  # named as their command, also where the engine has a module of that name


def long_functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > MOST_OF_A_FUNCTION:
                yield f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"


def test_no_module_is_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert len(lengths) > 400
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES}


def test_no_function_is_long() -> None:
    assert not [found for path in MODULES for found in long_functions(path)]


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(p.relative_to(ROOT)) for p in MODULES if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))
    ]
    assert not silent


@pytest.mark.parametrize("top", ["engine", "tui", "tests"])
def test_names_are_not_used_twice(top: str) -> None:
    ours = [p for p in MODULES if p.is_relative_to(ROOT / top) and p.parent != COMMANDS]
    names = Counter(path.stem for path in ours if not path.stem.startswith("__") and path.stem != "conftest")
    assert not {name for name, times in names.items() if times > 1}


def test_the_engine_and_the_console_share_no_name() -> None:
    """But for commands, and words that are as plain in both."""
    stems = {
        top: {p.stem for p in (ROOT / top).rglob("*.py") if p.parent != COMMANDS and not p.stem.startswith("__")}
        for top in ("engine", "tui")
    }
    assert stems["engine"] & stems["tui"] == set()
