"""How many CPU threads a stage uses: chosen once, when it starts, by the usable cores and the other runs here."""

import os
import re
from collections.abc import Iterator

import psutil

from engine.config.schema import RunConfig
from engine.events.kinds import Device, decode
from engine.hardware.detect import usable_cores
from engine.run.directory import RunDirectory

LIBRARIES = "OMP_NUM_THREADS"  # of torch, numpy and Arrow; a user may set it
WORKERS = "RAYON_NUM_THREADS"  # of the tokenizer's Rust; a user may set it, too
_OLD_NAME = re.compile(r"CPU, (\d+) threads?")  # a device of before November 2026, which has the number in its name


def stage_threads(run: RunDirectory, config: RunConfig) -> int:
    """The threads of a stage of this run: `runtime.threads`; else those that it trained with on a CPU so far, as sums
    depend on them in their last digits, but no more than there are cores; else those of `free_threads`."""
    if config.runtime.threads is not None:
        return config.runtime.threads
    before = trained_threads(run)
    return min(before, usable_cores()) if before is not None else free_threads(run)


def free_threads(run: RunDirectory | None = None) -> int:
    """The threads for `run` (None: for what is no run): $OMP_NUM_THREADS where it is set, else an equal share of the
    usable cores among the runs on this host."""
    return _number_in(LIBRARIES) or fair_threads(run)


def worker_threads() -> int:
    """The threads for tokenizing: $RAYON_NUM_THREADS, which a stage is given, else those of `fair_threads`."""
    return _number_in(WORKERS) or fair_threads()


def _number_in(variable: str) -> int | None:
    """The count in an environment variable, of a list the first; None where there is none."""
    asked = os.environ.get(variable, "").partition(",")[0].strip()
    return int(asked) if asked.isdigit() and int(asked) > 0 else None


def fair_threads(run: RunDirectory | None = None) -> int:
    """An equal share of the usable cores among the runs on this host: what tokenizing and compiling take, which
    $OMP_NUM_THREADS, often 1 on clusters and in images, does not mean."""
    others = runs_at_work() - ({str(run.path)} if run is not None else set())
    return share(usable_cores(), len(others))


def share(cores: int, others: int) -> int:
    """The threads of one run next to `others`: at least one, and together no more than the cores where all start under
    the same conditions."""
    return max(1, cores // (1 + others))


def runs_at_work() -> set[str]:
    """The folders of all runs that work on this host, of every user and home, by the command lines of their processes
    (a container shows its own alone)."""
    return {path for process in psutil.process_iter(["cmdline"]) for path in _run_of(process.info["cmdline"] or [])}


def _run_of(command: list[str]) -> Iterator[str]:
    is_runner = len(command) == 4 and command[1:3] == ["-m", "engine"]
    is_stage = len(command) == 5 and command[1:3] == ["-m", "engine.stages.runtime"]
    if is_runner or is_stage:
        yield command[3]


def trained_threads(run: RunDirectory) -> int | None:
    """The threads that a stage of the run trained with last on a CPU; None where none did."""
    last = None
    try:
        with run.events_file.open("rb") as file:
            for line in file:
                event = decode(line) if b'"device"' in line else None  # steps are most of the file
                if isinstance(event, Device) and event.device == "cpu":
                    last = event.threads or _threads_in(event.name) or last
    except OSError:
        return None
    return last


def _threads_in(name: str) -> int | None:
    match = _OLD_NAME.fullmatch(name)
    return int(match[1]) if match else None


def thread_environment(threads: int, workers: int) -> dict[str, str]:
    """What the libraries of a stage read when they are loaded: `threads` for torch, numpy and Arrow, `workers` for
    the tokenizer's Rust and for torch.compile, of which a user may have asked for fewer."""
    compile_threads = os.environ.get("TORCHINDUCTOR_COMPILE_THREADS", "")
    most = min(int(compile_threads), workers) if compile_threads.isdigit() else workers
    return {
        LIBRARIES: str(threads),
        WORKERS: os.environ.get(WORKERS, str(workers)),
        "TORCHINDUCTOR_COMPILE_THREADS": str(most),
    }


def threads_warning(before: int | None, now: int) -> str:
    """One line where a run continues with fewer threads than it trained with; empty where it does not."""
    if before is None or now >= before:
        return ""
    return (
        f"this run trained with {before} CPU threads so far and continues with {now}, as there are no more cores: "
        "results may differ in their last digits"
    )
