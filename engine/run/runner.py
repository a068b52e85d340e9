"""The runner: holds the run's lock, runs each stage as a child process, watches the machine, says how stages ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import msgspec
import psutil

from engine import __version__
from engine.errors import (
    EXIT_CRASHED,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_OUT_OF_MEMORY,
    EXIT_STOPPED,
    EXIT_USAGE,
    NanosoloError,
    UsageError,
)
from engine.files import write_atomically
from engine.run.directory import RunDirectory, RunLock, RunnerInfo
from engine.run.events import EventLog, RunEnded, RunStarted, StageEnded, StageStarted, read_events
from engine.run.hardware import out_of_memory_kills
from engine.run.monitor import SAMPLE_SECONDS, Monitor

LOCK_PATIENCE = 3.0  # seconds; whoever only looks whether a run lives holds the lock for an instant
POLL_SECONDS = 0.1

OUTCOMES = {
    EXIT_DONE: "done",
    EXIT_USAGE: "refused",
    EXIT_OUT_OF_MEMORY: "out_of_memory",
    EXIT_DIVERGED: "diverged",
    EXIT_CRASHED: "crashed",
    EXIT_STOPPED: "stopped",
}


class Runner:
    """Runs the stages of one run that are not done yet, in order."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.lock = RunLock(run)
        self.child: subprocess.Popen[bytes] | None = None
        self.stop_asked = False

    def main(self) -> int:
        """Returns the exit code of the run. Raises NanosoloError when it cannot start."""
        self._acquire()
        me = psutil.Process()
        info = RunnerInfo(pid=me.pid, started=me.create_time(), host=socket.gethostname())
        write_atomically(self.run.runner_file, msgspec.json.encode(info))
        config = self.run.config()
        done = finished_stages(self.run)
        self.events = EventLog(self.run.events_file)
        self._listen()
        self.monitor = Monitor(self.run.path)
        self.events.write(
            RunStarted(name=self.run.name, version=__version__, host=info.host, pid=info.pid, resumed=bool(done[1]))
        )
        code, outcome, message = EXIT_DONE, "done", ""
        for stage in config.pipeline.stages:
            # a report is cheap and must tell of everything before it
            if stage in done[0] and stage != "report":
                continue
            if self.stop_asked:
                code, outcome = EXIT_STOPPED, "stopped"
                break
            ended = self._run_stage(stage)
            if ended.outcome != "done":
                code, outcome, message = ended.exit_code, ended.outcome, ended.message
                break
        self.events.write(RunEnded(outcome=outcome, exit_code=code, message=message))
        return code

    def _acquire(self) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                return self.lock.acquire()
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"run {self.run.name} is running already. Watch it with: nanosolo attach {self.run.name}"
                    ) from None
                time.sleep(POLL_SECONDS)
            except OSError as error:
                raise NanosoloError(f"cannot lock {self.run.path}: {error.strerror}. Mend its rights.") from None

    def _listen(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGQUIT, self._on_kill)
        signal.signal(signal.SIGUSR1, self._on_checkpoint)

    def _on_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stop_asked = True
        self._tell_child(signal.SIGTERM)

    def _on_kill(self, _signal: int, _frame: FrameType | None) -> None:
        self.stop_asked = True
        self._tell_child(signal.SIGKILL)

    def _on_checkpoint(self, _signal: int, _frame: FrameType | None) -> None:
        self._tell_child(signal.SIGUSR1)

    def _tell_child(self, number: int) -> None:
        if self.child is not None and self.child.returncode is None:
            self.child.send_signal(number)

    def _run_stage(self, stage: str) -> StageEnded:
        argv = (sys.executable, "-m", "engine.run.stage", str(self.run.path), stage)
        kills = out_of_memory_kills()
        began = time.monotonic()
        with self.run.log_file.open("ab") as log:
            log_start = log.seek(0, os.SEEK_END)
            self.child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self.lock.fd,),
                env=_child_environment(),
            )
        self.events.write(StageStarted(stage=stage, pid=self.child.pid, argv=argv))
        if self.stop_asked:  # asked between the last stage and this one
            self._tell_child(signal.SIGTERM)
        peak = self._watch(self.child)
        code = self.child.returncode
        starved = out_of_memory_kills() > kills
        outcome = self._outcome(code, starved)
        ended = StageEnded(
            stage=stage,
            outcome=outcome,
            seconds=time.monotonic() - began,
            exit_code=_exit_code(outcome),
            peak_memory=peak,
            message="" if outcome in ("done", "stopped") else _last_line(self.run.log_file, log_start, code),
        )
        self.events.write(ended)
        return ended

    def _watch(self, child: subprocess.Popen[bytes]) -> int | None:
        """Wait for the child while sampling the machine. Returns the largest resident size seen, in bytes."""
        peak = 0
        next_sample = time.monotonic()
        while child.poll() is None:
            if time.monotonic() >= next_sample:
                next_sample += SAMPLE_SECONDS
                peak = max(peak, _resident(child.pid))
                event = self.monitor.sample()
                if event is not None:
                    self.events.write(event)
            time.sleep(POLL_SECONDS)
        return peak or None

    def _outcome(self, code: int, starved: bool) -> str:
        if code < 0:
            if self.stop_asked:
                return "stopped"
            return "out_of_host_memory" if starved else "killed"
        return OUTCOMES.get(code, "crashed")


def finished_stages(run: RunDirectory) -> tuple[set[str], bool]:
    """(stages whose last end was `done`, whether the run was ever started)."""
    done: set[str] = set()
    started = False
    for event in read_events(run.events_file):
        if isinstance(event, RunStarted):
            started = True
        elif isinstance(event, StageEnded):
            done.discard(event.stage)
            if event.outcome == "done":
                done.add(event.stage)
    return done, started


def launch(run: RunDirectory) -> int:
    """Start a detached runner for the run: own session, no terminal. Returns its process id.

    It lives on when the terminal, the console or the SSH connection that started it goes.
    """
    with run.log_file.open("ab") as log:
        process = subprocess.Popen(
            (sys.executable, "-m", "engine", str(run.path)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=_child_environment(),
        )
    return process.pid


def _child_environment() -> dict[str, str]:
    return {
        # fragments of freed blocks would otherwise count as out of memory at the edge
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        **os.environ,
        "PYTHONUNBUFFERED": "1",
    }


def _exit_code(outcome: str) -> int:
    codes = {name: code for code, name in OUTCOMES.items()} | {"out_of_host_memory": EXIT_OUT_OF_MEMORY}
    return codes.get(outcome, EXIT_CRASHED)


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _last_line(log: Path, start: int, code: int) -> str:
    """The last line that the stage wrote, which says why it ended."""
    with log.open("rb") as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - 8192))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    if code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else str(-code)
        return f"the process was ended by {name}"
    return lines[-1].removeprefix("error: ") if lines else f"exit code {code}"
