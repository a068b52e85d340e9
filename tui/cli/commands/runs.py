"""`nanosolo runs`, `logs` and `report`."""

import argparse
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from engine.core import formatting
from engine.core.errors import UsageError
from engine.core.paths import runs_home
from engine.core.sanitize import one_line
from engine.events.scores import LOWER
from engine.run.directory import RunDirectory, find_run
from engine.run.summary import RunSummary, SummaryReaders, log_is_gone

POLL_SECONDS = 0.5
FIGURES_FROM = 70  # cells of a terminal; a narrower one shows no figures
LEAST_NAME, LEAST_STATUS = 12, 20  # cells


def runs(options: argparse.Namespace) -> int:
    """List all runs, newest last."""
    rows = [describe(summary) for summary in reversed(SummaryReaders().look())]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print(f"no runs in {runs_home()} yet. Start one with: nanosolo --preset quickstart")
        return 0
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for line in table(rows, room):
        print(line)
    return 0


def table(rows: list[dict[str, Any]], room: int) -> list[str]:
    """The runs under a heading, in columns, no line longer than `room` cells: figures go first where there is none."""
    figures = [] if room < FIGURES_FROM else [("loss", "loss"), ("val bpb", "val_bpb")]
    head = ["run", "age", *(title for title, _ in figures), "status"]
    cells = [
        [
            one_line(row["name"]),
            formatting.duration(row["age_seconds"]),
            *("-" if row[key] is None else f"{row[key]:.4f}" for _, key in figures),
            one_line(row["verdict"]),
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    others = sum(widths[1:-1]) + 2 * (len(widths) - 1)
    widths[0] = min(widths[0], max(LEAST_NAME, room - others - LEAST_STATUS))
    lines = [_line(line, widths, room) for line in (head, *cells)]
    if any(row[key] is not None for row in rows for _, key in figures):
        lines.append(_clip(f"loss and val bpb (bits per byte): {LOWER}", room))
    return lines


def _line(cells: list[str], widths: list[int], room: int) -> str:
    name, *figures, status = cells
    middle = (f"{cell:>{width}}" for cell, width in zip(figures, widths[1:-1], strict=True))
    return _clip("  ".join([f"{_clip(name, widths[0]):<{widths[0]}}", *middle, status]), room)


def _clip(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def describe(summary: RunSummary) -> dict[str, Any]:
    """What `runs --json` says of one run."""
    return {
        "name": summary.run.name,
        "path": str(summary.run.path),
        "state": summary.status.state,
        "stage": summary.stage or None,
        "step": summary.step,
        "steps": summary.steps or None,
        "loss": _known(summary.loss),
        "tokens_per_second": _known(summary.tokens_per_second),
        "val_bpb": _known(summary.val_bpb),
        "remaining_seconds": _known(summary.remaining),
        "age_seconds": summary.age,
        "exit_code": summary.exit_code,
        "version": summary.code.version or None,
        "commit": summary.code.commit or None,
        "code_changed": summary.code_changed,
        "verdict": summary.status.text,
    }


def logs(options: argparse.Namespace) -> int:
    """Print the last lines that the stages wrote."""
    run = find_run(options.run)
    if not run.log_file.exists():
        what = "The log of run {0} is gone" if log_is_gone(run) else "Run {0} has written no log yet"
        raise UsageError(f"{what.format(run.name)}: {run.log_file} is not there.")
    lines = run.log_file.read_text(errors="replace").splitlines()
    last = lines[-options.lines :] if options.lines else lines
    if options.json:
        print(json.dumps({"run": run.name, "path": str(run.log_file), "lines": last}, indent=2))
        return 0
    for line in last:
        print(line)
    if options.follow:
        _follow_file(run)
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the report again and print its text."""
    run = find_run(options.run)
    if options.json:
        from engine.report.measured import facts

        print(json.dumps(facts(run), indent=2))
        return 0
    from engine.stages.report import render

    print(render(run))
    print(f"written to {run.report_file}; as a page: {run.page_file}", file=sys.stderr)
    return 0


def _follow_file(run: RunDirectory) -> None:
    """Print what is appended until the run has ended."""
    with Path(run.log_file).open("rb") as file:
        file.seek(0, os.SEEK_END)
        while True:
            running = run.is_running()
            sys.stdout.write(file.read().decode(errors="replace"))
            sys.stdout.flush()
            if not running:
                return
            time.sleep(POLL_SECONDS)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
