"""`nanosolo runs`, `logs` and `report`: what there is on disk."""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.run import words
from engine.run.directory import RunDirectory, find_run, list_runs
from engine.run.history import read_history, state_of
from engine.run.home import runs_home
from engine.run.verdict import last_columns, remaining_seconds, verdict

POLL_SECONDS = 0.5


def runs(options: argparse.Namespace) -> int:
    """List all runs, newest last."""
    rows = [describe(run) for run in list_runs()]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print(f"no runs in {runs_home()} yet. Start one with: nanosolo --preset quickstart")
        return 0
    width = max(len(row["name"]) for row in rows)
    ages = [words.duration(row["age_seconds"]) for row in rows]
    oldest = max(map(len, ages))
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for row, age in zip(rows, ages, strict=True):
        line = f"{row['name']:<{width}}  {age:>{oldest}} ago  {row['verdict']}"
        print(line if len(line) <= room else line[: room - 1] + "…")
    return 0


def describe(run: RunDirectory) -> dict[str, Any]:
    """What `runs --json` says of one run."""
    now = time.time()
    history = read_history(run.events_file)
    state = state_of(run, history)
    known = last_columns(history)
    columns = known[1] if known is not None else None
    bpb = history.latest("val_bpb")
    return {
        "name": run.name,
        "path": str(run.path),
        "state": state,
        "stage": history.current,
        "step": columns.step[-1] if columns else 0,
        "steps": columns.steps if columns else None,
        "loss": _finite(columns.loss[-1]) if columns else None,
        "tokens_per_second": columns.tokens_per_second[-1] if columns else None,
        "val_bpb": bpb.value if bpb else None,
        "remaining_seconds": remaining_seconds(history),
        "age_seconds": now - run.config_file.stat().st_mtime,
        "exit_code": history.ended.exit_code if history.ended else None,
        "verdict": verdict(run.name, state, history, now).text,
    }


def logs(options: argparse.Namespace) -> int:
    """Print the last lines that the stages wrote."""
    run = find_run(options.run)
    if not run.log_file.exists():
        raise UsageError(f"run {run.name} has written no log yet: {run.log_file} is not there.")
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
    """Write the report anew and print its text."""
    run = find_run(options.run)
    if options.json:
        from engine.report.measured import facts

        print(json.dumps(facts(run), indent=2))
        return 0
    from engine.report.write import render

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


def _finite(value: float) -> float | None:
    return value if value == value else None
