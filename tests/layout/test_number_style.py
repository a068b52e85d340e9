"""Durations, sizes and speeds are written by engine/core/formatting.py alone, in one style."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.import_contracts import ROOT

FORMATTING = ROOT / "engine" / "core" / "formatting.py"
CHART = ROOT / "tui" / "chart"  # usable without the engine: it labels its own axes
MODULES = [
    path
    for top in ("engine", "tui")
    for path in (ROOT / top).rglob("*.py")
    if path != FORMATTING and not path.is_relative_to(CHART)
]
UNITS = {"GIB", "MIB", "KIB", "TIB"}


def _divides_by_a_unit(node: ast.AST) -> bool:
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return False
    divisor = node.right
    name = divisor.id if isinstance(divisor, ast.Name) else divisor.attr if isinstance(divisor, ast.Attribute) else ""
    return name in UNITS or (isinstance(divisor, ast.Constant) and divisor.value in (60, 3600, 86400))


def own_formats(source: str) -> Iterator[int]:
    """Lines where a text is made of a number divided by a unit."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FormattedValue) and any(_divides_by_a_unit(part) for part in ast.walk(node.value)):
            yield node.lineno


def test_the_rule_finds_what_it_is_for() -> None:
    assert list(own_formats('x = f"{seconds / 3600:.1f} h"')) == [1]
    assert list(own_formats('x = f"{100 * peak / units.GIB:.1f}"')) == [1]
    assert not list(own_formats('x = f"{formatting.duration(seconds)}"'))


def test_nobody_formats_durations_and_sizes_for_themselves() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in MODULES for line in own_formats(path.read_text("utf-8"))]
    assert not found


def test_rates_are_written_in_one_way() -> None:
    """`tokens/s`; `tok/s` only over charts too narrow for it."""
    narrow = ROOT / "tui" / "runs" / "chart_board.py"
    texts: dict[Path, str] = {path: path.read_text("utf-8") for path in MODULES}
    assert [path for path, text in texts.items() if "tok/s" in text] == [narrow]
    assert not [path for path, text in texts.items() if "tokens a second" in text or "tokens per second}" in text]


def test_shares_are_written_in_one_way() -> None:
    """`55 %`; a signed error of a trace is the exception."""
    own = [path.relative_to(ROOT) for path in MODULES if re.search(r":[^{}\s]*\.\d%\}", path.read_text("utf-8"))]
    assert own == [Path("tui/cli/commands/plan.py")]
