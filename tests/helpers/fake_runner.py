"""A process that behaves like the runner of a run but does not train: lock, steps, signals, an end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from engine.run.directory import RunDirectory

PROGRAM = """
import fcntl, json, os, signal, sys, time
path, lock = sys.argv[1], None
seconds = float(os.environ["FAKE_STEP_SECONDS"])
first = int(os.environ["FAKE_FIRST_STEP"])
lock = os.open(os.path.join(path, "runner.lock"), os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
asked = []
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda n, f: asked.append(n))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
log = os.open(os.path.join(path, "events.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def write(kind, **fields):
    os.write(log, (json.dumps({"v": 1, "t": time.time(), "kind": kind, **fields}) + "\\n").encode())
with open(os.path.join(path, "ready"), "w"):
    pass
step = first
while True:
    time.sleep(seconds)
    step += 1
    write("step", stage="pretrain", step=step, steps=100000, tokens=step * 1000, loss=3.0 + 1 / step,
          learning_rate_scale=1.0, grad_norm=0.3, step_seconds=seconds, data_seconds=0.0,
          tokens_per_second=1000 / seconds, mfu=0.4, peak_memory=10**9)
    if signal.SIGUSR1 in asked:
        asked.remove(signal.SIGUSR1)
        write("checkpoint", stage="pretrain", step=step, path="checkpoints/x", bytes=10**9, seconds=0.1)
    if signal.SIGTERM in asked:
        write("checkpoint", stage="pretrain", step=step, path="checkpoints/x", bytes=10**9, seconds=0.1)
        write("stage_ended", stage="pretrain", outcome="stopped", seconds=1.0, exit_code=130)
        write("run_ended", outcome="stopped", exit_code=130)
        break
"""


class FakeRunner:
    """Runs during a test; `with FakeRunner(run, folder):` ends it."""

    def __init__(self, run: RunDirectory, folder: Path, *, seconds: float = 0.02, first: int = 0) -> None:
        package = folder / "fake" / "engine"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("")
        (package / "__main__.py").write_text(PROGRAM)
        self.run = run
        # recognized by its command line, like the runner
        self.process = subprocess.Popen(
            (sys.executable, "-m", "engine", str(run.path)),
            cwd=package.parent,
            env={**os.environ, "FAKE_STEP_SECONDS": str(seconds), "FAKE_FIRST_STEP": str(first)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        info = {"pid": self.process.pid, "started": time.time(), "host": socket.gethostname()}
        run.runner_file.write_text(json.dumps(info))
        deadline = time.monotonic() + 20
        while not (run.path / "ready").exists():
            assert time.monotonic() < deadline, "the fake runner did not come up"
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> "FakeRunner":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
