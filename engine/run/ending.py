"""How a stage ended and why, from its exit code and the end of its log."""

import os
import signal
from pathlib import Path

from engine.errors import (
    EXIT_CRASHED,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_OUT_OF_MEMORY,
    EXIT_STOPPED,
    EXIT_USAGE,
)
from engine.run.faults import Fault, torch_error

OUTCOMES = {
    EXIT_DONE: "done",
    EXIT_USAGE: "refused",
    EXIT_OUT_OF_MEMORY: "out_of_memory",
    EXIT_DIVERGED: "diverged",
    EXIT_CRASHED: "crashed",
    EXIT_STOPPED: "stopped",
}
EXIT_CODES = {name: code for code, name in OUTCOMES.items()} | {"out_of_host_memory": EXIT_OUT_OF_MEMORY}

TAIL_BYTES = 8192  # of a stage's log, in which it says why it ended
MOST_MESSAGE = 500  # characters of that


def outcome_of(code: int, stop_asked: bool, starved: bool) -> str:
    """One word: how a process ended that returned `code` (negative: by that signal).

    `starved`: the kernel has just ended something here for lack of memory.
    """
    if code >= 0:
        return OUTCOMES.get(code, "crashed")
    if stop_asked:
        return "stopped"
    return "out_of_host_memory" if starved else "killed"


def exit_code_of(outcome: str) -> int:
    """What a run exits with when a stage ended so."""
    return EXIT_CODES.get(outcome, EXIT_CRASHED)


def why(outcome: str, code: int, log_end: str, faults: list[Fault]) -> str:
    """Why a stage did not end well, in one line; empty where it did. `faults`: what the driver told meanwhile."""
    if outcome in ("done", "stopped"):
        return ""
    said = _ended_by(code) if code < 0 else _last_line(log_end) or f"exit code {code}"
    if outcome == "out_of_host_memory":
        return f"{said}: the host's memory ran out. Lower batch.device_batch_size, or end other programs"
    if outcome not in ("crashed", "killed"):
        return said
    fault = faults[-1] if faults else torch_error(log_end)  # the driver knows better than what torch made of it
    return f"{fault} ({said})" if fault is not None else said


def tail(log: Path, start: int) -> str:
    """The end of what was written to the log from `start` on."""
    with log.open("rb") as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return file.read().decode(errors="replace")


def _ended_by(code: int) -> str:
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return f"the process was ended by {name}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ")[:MOST_MESSAGE] if lines else ""
