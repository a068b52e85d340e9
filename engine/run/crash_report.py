"""Finds the lines at the end of a stage's log that say why it ended, among hints, warnings and other noise."""

import re
from collections.abc import Callable
from typing import NamedTuple

_TRACEBACK = "Traceback (most recent call last):"
_FRAME = '  File "'
_OWN = "error: "  # how a stage says what a user can act on

# What torch, NCCL and Python write below or after an error without saying why it came.
_NOISE = tuple(
    re.compile(pattern)
    for pattern in (
        r"Set TORCHDYNAMO_VERBOSE=1|TORCHDYNAMO_VERBOSE=1|For even more developer context|set TORCH_LOGS=",
        r"You can suppress this exception|import torch\._dynamo$|torch\._dynamo\.config\.suppress_errors",
        r"Search for `cuda\w+' in ",
        r"CUDA kernel errors might be asynchronously reported|For debugging consider passing CUDA_LAUNCH_BLOCKING",
        r"Compile with `TORCH_USE_CUDA_DSA`|Device-side assertions? (?:were|was) explicitly omitted",
        r"For more detailed error information, run with CUDA_LOG_FILE",
        r"^\[[WI]\d{4} [\d:.]+ |^\[rank\d+\]:\[[WI]",  # warnings of torch's C++ side, NCCL's among them
        r"^\S+:\d+:\d+ \[\d+\] NCCL (?:INFO|WARN)|destroy_process_group|ProcessGroupNCCL",
        r"Exception ignored in|Exception caused the current process",
        r"\w*Warning: |^\s*warnings\.warn\(",
        r"resource_tracker: |leaked (?:semaphore|shared_memory)",
        r"^During handling of the above exception|^The above exception was the direct cause",
        r"^-+$|^=+$",
    )
)
_ABORT = re.compile(r"^terminate called .*\n\s*what\(\):\s*(.+)", re.MULTILINE)


class LastWords(NamedTuple):
    """Why something ended, as its log says."""

    line: str  # one line; empty where the log says nothing
    text: str  # all of the message, for a search


def last_words(log_end: str) -> LastWords:
    """The stage's own last line where it said one (`error: ...`), else the last exception, else the last line."""
    lines = log_end.splitlines()
    own = _last(lines, lambda line: line.startswith(_OWN))
    trace = _last(lines, lambda line: line.lstrip().endswith(_TRACEBACK))
    if trace is None:  # of a long one, the end of the log holds only the last frames
        trace = _last(lines, lambda line: line.startswith(_FRAME))
    if own is not None and (trace is None or own > trace):
        line = lines[own].removeprefix(_OWN).strip()
        return LastWords(line, line)
    if trace is not None:
        message = _exception(lines[trace + 1 :])
        if message:
            return LastWords(_joined(message), "\n".join(message))
    said = [line.strip() for line in lines if line.strip() and not _is_noise(line)]
    return LastWords(said[-1], said[-1]) if said else LastWords("", "")


def abort_message(log_end: str) -> str:
    """What C++ wrote when it ended the process for an exception that nobody caught; empty where it did not."""
    found = _ABORT.findall(log_end)
    return found[-1].strip() if found else ""


def _exception(lines: list[str]) -> list[str]:
    """The lines of an exception's message: what follows the frames of a traceback, without hints."""
    rest = iter(lines)
    first = next((line for line in rest if line.strip() and not line.startswith((" ", "\t"))), None)
    if first is None:
        return []
    return [line.strip() for line in (first, *rest) if line.strip() and not _is_noise(line)]


def _joined(message: list[str]) -> str:
    """The first line, and the next where it only announces it (`backend='inductor' raised:`)."""
    line = message[0]
    for more in message[1:]:
        if not line.endswith(":"):
            break
        line = f"{line} {more}"
    return line


def _is_noise(line: str) -> bool:
    return any(pattern.search(line) for pattern in _NOISE)


def _last(lines: list[str], is_it: Callable[[str], bool]) -> int | None:
    return next((number for number in range(len(lines) - 1, -1, -1) if is_it(lines[number])), None)
