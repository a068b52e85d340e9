"""The exit status of a stage: how it ended and why, from its exit code and the end of its log."""

import os
import signal
from pathlib import Path

from engine.core.diagnostic import Diagnostic
from engine.core.errors import (
    EXIT_CRASHED,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_OUT_OF_HOST_MEMORY,
    EXIT_OUT_OF_MEMORY,
    EXIT_STOPPED,
    EXIT_USAGE,
)
from engine.core.memory_errors import Memory, exhausted_memory
from engine.events.kinds import Outcome
from engine.hardware.gpu_faults import torch_error
from engine.run.crash_report import abort_message, last_words

OUTCOMES: dict[int, Outcome] = {
    EXIT_DONE: "done",
    EXIT_USAGE: "refused",
    EXIT_OUT_OF_MEMORY: "out_of_memory",
    EXIT_OUT_OF_HOST_MEMORY: "out_of_host_memory",
    EXIT_DIVERGED: "diverged",
    EXIT_CRASHED: "crashed",
    EXIT_STOPPED: "stopped",
}
EXIT_CODES: dict[Outcome, int] = {name: code for code, name in OUTCOMES.items()} | {
    "out_of_host_memory": EXIT_OUT_OF_MEMORY
}

TAIL_BYTES = 32768  # of a stage's log, in which it says why it ended: a traceback through a compiler is long
MOST_MESSAGE = 500  # characters of that
OUTCOME_OF_MEMORY: dict[Memory, Outcome] = {"gpu": "out_of_memory", "host": "out_of_host_memory"}


def outcome_of(code: int, stop_asked: bool, starved: bool, log_end: str = "") -> Outcome:
    """How a process ended that returned `code` (negative: that signal) and last wrote `log_end`.

    `starved`: the kernel has just killed a process here for lack of memory.
    """
    if code >= 0:
        known = OUTCOMES.get(code, "crashed")
        memory = exhausted_memory(last_words(log_end).text) if known == "crashed" else None
        return OUTCOME_OF_MEMORY[memory] if memory is not None else known
    if stop_asked:
        return "stopped"
    if starved:
        return "out_of_host_memory"
    memory = exhausted_memory(abort_message(log_end))
    return OUTCOME_OF_MEMORY[memory] if memory is not None else "killed"


def exit_code_of(outcome: Outcome) -> int:
    """The exit code of a run whose stage ended so."""
    return EXIT_CODES.get(outcome, EXIT_CRASHED)


def why(outcome: Outcome, code: int, log_end: str, faults: list[Diagnostic]) -> str:
    """Why a stage failed, in one line; empty where it did not. `faults`: what the driver reported meanwhile."""
    if outcome in ("done", "stopped"):
        return ""
    words = last_words(log_end)
    said = _ended_by(code, abort_message(log_end)) if code < 0 else words.line[:MOST_MESSAGE] or f"exit code {code}"
    if outcome == "out_of_host_memory" and code < 0:
        return f"{said}: out of host memory. Lower batch.device_batch_size, or end other programs"
    if outcome not in ("crashed", "killed"):
        return said
    # the driver's report comes before torch's, and the last error before earlier ones
    fault = faults[-1] if faults else torch_error(words.text) or torch_error(log_end)
    return f"{fault} ({said})" if fault is not None else said


def tail(log: Path, start: int) -> str:
    """The end of the log, from `start` at the earliest."""
    with log.open("rb") as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return file.read().decode(errors="replace")


def _ended_by(code: int, message: str) -> str:
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return f"the process was killed by {name}" + (f" ({message[:MOST_MESSAGE]})" if message else "")
