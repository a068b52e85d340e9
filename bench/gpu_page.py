"""Combine the measurements of `bench/gpu.sh --quick` into one result and one page."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.core.units import GIB


def page(result: Mapping[str, Any]) -> Iterator[str]:
    """The page, as lines of Markdown. `result`: `memory` as gpu_memory.py writes it, and whether the run `ended`."""
    memory = result["memory"]
    yield f"# nanosolo on {memory.get('gpu', 'a GPU')}"
    yield ""
    yield f"`bash bench/gpu.sh --quick`, {memory.get('date', 'no date')}, torch {memory.get('torch', '?')}"
    yield ""
    yield "A run that was stopped and resumed: " + ("ended with a report." if result["ended"] else "**failed**.")
    yield ""
    yield "| depth | rows x tokens | peak, GiB | formula | tokens/s | predicted |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in memory.get("cases", []):
        shape = f"| {row['depth']} | {row['rows']} x {row['seq']:,} "
        if "error" in row:
            figures = f"| {row['peak'] / GIB:.2f} | {row['error']:+.2%} | {row['tokens_per_second']:,.0f} "
            yield f"{shape}{figures}| {row['predicted_tokens_per_second']:,.0f} |"
        else:
            yield f"{shape}| failed: {row['error_message']} | | | |"


def main(arguments: list[str]) -> int:
    """Write both. Exit code 1 if a part is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", metavar="FILE", type=Path, required=True)
    parser.add_argument("--report", metavar="FILE", type=Path, required=True)
    parser.add_argument("--output", metavar="FILE", type=Path, required=True)
    options = parser.parse_args(arguments)
    memory, report = _read(options.memory), _read(options.report)
    result = {"memory": memory, "ended": bool(report), "report": report}
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    text = "\n".join(page(result)) + "\n"
    options.output.with_suffix(".md").write_text(text)
    print(text)
    return 0 if memory and report else 1


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
