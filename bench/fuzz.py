"""Feed damaged and hostile files to everything that reads files: configurations, events, tokenizers, tokens, text,
checkpoints. One thread; plain mutation of real files, as the parsers are native code that coverage tools do not see.

An input counts as answered when the reader returned, or raised one of the errors that it says it raises. Anything else
is a fault: another exception, more than SECONDS for one input, or the end of the process.
Writes bench/results/fuzz.json: date, command, machine, versions, and per target the inputs, faults and times.

    python bench/fuzz.py                     more than a million inputs
    python bench/fuzz.py --only events --share 0.01
"""

import argparse
import datetime
import json
import mmap
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz_mutation import mutate
from fuzz_targets import SEED, TARGETS

SECONDS = 10.0  # per input
JOURNAL_BYTES = 16 * 2**20  # more than any input
MOST_SHOWN = 5  # faults per target


class TooSlow(Exception):
    """One input took longer than SECONDS."""


@contextmanager
def clocked() -> Iterator[None]:
    """Raise TooSlow in code that takes too long."""

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(name: str, inputs: int | None, seed: int, journal: mmap.mmap | None = None) -> dict[str, Any]:
    """Feed one target. Returns the result.

    `journal` holds the current input, after its length in 8 bytes, in case the process ends with it.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        target = TARGETS[name](Path(folder))
        count = target.inputs if inputs is None else inputs
        draw = random.Random(f"{seed} {name}")
        faults: list[dict[str, Any]] = []
        slowest, faulty = 0.0, 0
        began = time.perf_counter()
        for number in range(count):
            data = mutate(draw, target.seeds)
            if journal is not None:
                journal[: len(data) + 8] = len(data).to_bytes(8) + data
            start = time.perf_counter()
            try:
                with clocked():
                    target.read(data)
            except BaseException as error:  # a Rust panic is not an Exception
                if isinstance(error, KeyboardInterrupt):
                    raise
                faulty += 1
                if len(faults) < MOST_SHOWN:
                    where = traceback.format_exc().splitlines()[-3:]
                    faults.append({"input": number, "error": f"{type(error).__name__}: {error}"[:300], "at": where})
            slowest = max(slowest, time.perf_counter() - start)
        seconds = time.perf_counter() - began
    return {
        "inputs": count,
        "faulty": faulty,
        "faults": faults,
        "slowest": round(slowest, 4),
        "seconds": round(seconds, 1),
    }


def run_apart(name: str, share: float, seed: int) -> dict[str, Any]:
    """Feed one target in a separate process, so that a crash of the process counts as a fault."""
    folder = Path(tempfile.mkdtemp())
    journal, result = folder / "input", folder / "result.json"
    argv = [
        sys.executable,
        __file__,
        "--one",
        name,
        "--share",
        str(share),
        "--seed",
        str(seed),
        "--output",
        str(result),
    ]
    code = subprocess.run([*argv, "--journal", str(journal)], check=False).returncode
    if code == 0:
        found: dict[str, Any] = json.loads(result.read_text())
        shutil.rmtree(folder)
        return found
    fault = {"error": f"the process ended with {code}; its last input is {journal}"}
    return {"inputs": 0, "faulty": 1, "faults": [fault], "slowest": 0.0, "seconds": 0.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TARGETS, help="this target alone")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of inputs")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "fuzz.json")
    parser.add_argument("--one", choices=TARGETS, help=argparse.SUPPRESS)
    parser.add_argument("--journal", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            inputs = round(TARGETS[options.one](Path(folder)).inputs * options.share)
        with options.journal.open("w+b") as file:
            file.truncate(JOURNAL_BYTES)
            journal = mmap.mmap(file.fileno(), JOURNAL_BYTES)
        options.output.write_text(json.dumps(run(options.one, inputs, options.seed, journal)))
        return 0
    found = {}
    for name in [options.only] if options.only else TARGETS:
        found[name] = run_apart(name, options.share, options.seed)
        one = found[name]
        print(f"{name:<11} {one['inputs']:>9,} inputs  {one['seconds']:>7.1f} s  {one['faulty']} faults", flush=True)
        for fault in one["faults"]:
            print(f"    {fault}")
    total, faulty = sum(f["inputs"] for f in found.values()), sum(f["faulty"] for f in found.values())
    print(f"{total:,} inputs, {faulty} faults")
    if not options.only:
        options.output.parent.mkdir(exist_ok=True)
        report = {
            "what": "damaged and hostile files; a fault is any answer but a result or an error that the reader names",
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "command": " ".join(["python", "bench/fuzz.py", *sys.argv[1:]]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "versions": {"python": platform.python_version()}
            | {name: metadata.version(name) for name in ("msgspec", "pyarrow", "tiktoken", "safetensors", "torch")},
            "seed": options.seed,
            "inputs": total,
            "faulty": faulty,
            "targets": found,
        }
        options.output.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
