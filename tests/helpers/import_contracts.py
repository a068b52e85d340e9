"""Writes the import contracts of pyproject.toml into docs/architecture.md: python -m tests.helpers.import_contracts."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- import contracts: begin -->", "<!-- import contracts: end -->"


def contracts() -> list[dict[str, Any]]:
    """The contracts, in the order of pyproject.toml."""
    found: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    return found


def section() -> str:
    """What stands between the two marks."""
    return "\n".join([BEGIN, "", *(line for contract in contracts() for line in _lines(contract)), END])


def page_with(new: str) -> str:
    """The page with this section in place of the old one."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + new + rest.partition(END)[2]


def _lines(contract: dict[str, Any]) -> Iterator[str]:
    yield f"**{contract['name']}.** {contract['broken_contract_guidance']}"
    yield ""
    if contract["type"] == "layers" and "containers" in contract:
        (container,) = contract["containers"]
        yield "| from the top down | what is in it |"
        yield "| --- | --- |"
        for layer in contract["layers"]:
            yield f"| `{container}.{layer}` | {_purpose(container, layer)} |"
    elif contract["type"] == "layers":
        yield f"From the top down: {_code(contract['layers'])}."
    elif contract["type"] == "forbidden":
        yield f"{_code(contract['source_modules'])} must not import {_code(contract['forbidden_modules'])} directly."
    else:
        yield f"Checked in all folders of {_code(contract['ancestors'])}."
    yield ""


def _purpose(container: str, layer: str) -> str:
    """The first line of its docstring."""
    path = ROOT / container / layer
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()[0]


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PAGE.write_text(page_with(section()))
