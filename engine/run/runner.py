"""The runner: holds the run's lock, runs each stage as a child process, watches the machine, says how stages ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import msgspec
import psutil

from engine import __version__
from engine.config.stages import MODEL_STAGES
from engine.core.atomic_io import cannot_write, write_atomically
from engine.core.diagnostic import Diagnostic
from engine.core.errors import EXIT_DONE, EXIT_STOPPED, NanosoloError, UsageError
from engine.events.kinds import Advice, RunEnded, RunStarted, StageAnew, StageEnded, StageStarted, Warning
from engine.events.log import EventLog
from engine.hardware.cgroups import out_of_memory_kills
from engine.hardware.telemetry import SAMPLE_SECONDS, Monitor
from engine.hardware.versions import this_code, versions
from engine.run.archive import archive_result
from engine.run.cpu_threads import fair_threads, stage_threads, thread_environment, threads_warning, trained_threads
from engine.run.directory import RunDirectory, RunLock, RunnerInfo
from engine.run.environment import torch_environment
from engine.run.exit_status import exit_code_of, outcome_of, tail, why
from engine.run.measuring import record_run
from engine.run.stage_context import STAGE_SIGNALS
from engine.run.stage_status import StageStatus, read_stage_status

LOCK_PATIENCE = 3.0  # seconds; a check whether a run is running holds the lock for an instant
POLL_SECONDS = 0.1
RUN_END_SECONDS = 60.0  # how long the last events of a run wait for a full disk


class Runner:
    """Runs the stages of one run that are wanted and not done yet, in order."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.lock = RunLock(run)
        self.child: subprocess.Popen[bytes] | None = None
        self.stop_asked = False
        self.faults: list[Diagnostic] = []  # of the running stage
        self.began = time.time()
        self.deterministic = False
        self.notices: tuple[Path, ...] = ()  # files that say, once they appear, that the machine will be taken away

    def main(self) -> int:
        """Returns the exit code of the run. Raises NanosoloError when it cannot start."""
        self._acquire()
        self._listen()  # before others can learn who to signal
        me = psutil.Process()
        info = RunnerInfo(pid=me.pid, started=me.create_time(), host=socket.gethostname(), code=this_code())
        write_atomically(self.run.runner_file, msgspec.json.encode(info))
        config = self.run.config()
        self.deterministic = config.runtime.deterministic
        named = config.runtime.preempt_file
        self.notices = (self.run.preempt_file, *([Path(named)] if named else []))
        status = read_stage_status(self.run, config.pipeline.stages)
        self.to_restart = dict(status.restart)
        self.events = EventLog(self.run.events_file)
        self.monitor = Monitor(self.run.path)
        self.events.write(
            RunStarted(
                name=self.run.name,
                version=__version__,
                host=info.host,
                pid=info.pid,
                resumed=status.started,
                versions=versions(),
            )
        )
        code, outcome, message = EXIT_DONE, "done", ""
        for stage in status.wanted:
            # a report is cheap and must cover everything before it
            if stage in status.done and stage != "report":
                continue
            if self.stop_asked:
                code, outcome = EXIT_STOPPED, "stopped"
                break
            try:
                ended = self._run_stage(stage)
            except BaseException:
                self._end_child()
                raise
            if ended.outcome != "done":
                code, outcome, message = ended.exit_code, ended.outcome, ended.message
                break
        if status.requested and outcome == "done":
            outcome, message = self._after_requested_stages(status, config.pipeline.stages)
        with contextlib.suppress(NanosoloError):  # a run that cannot teach the next one is no worse for it
            record_run(self.run)
        self.events.write(RunEnded(outcome=outcome, exit_code=code, message=message))
        self.events.close(patience=RUN_END_SECONDS)
        return code

    def _after_requested_stages(self, status: StageStatus, pipeline: Sequence[str]) -> tuple[str, str]:
        """(outcome, message): the run is done where its pipeline is; else it rests, as it did before."""
        left = read_stage_status(self.run, pipeline).left
        if not left:
            return "done", ""
        return "stopped", f"{', '.join(status.wanted)} done as requested; resume continues with {left[0]}"

    def _restart_stage(self, stage: str) -> None:
        """Where the stage is to be repeated: move its earlier result away, and say so before it can be taken for new.
        Interrupted anywhere here, the next runner does the rest. Raises NanosoloError."""
        if stage in self.to_restart:
            kept = self.to_restart.pop(stage)
            archive_result(self.run, stage, kept)
            self.events.write(StageAnew(stage=stage, path=f"checkpoints/{kept}" if kept else ""))
            self.events.sync()

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
                raise NanosoloError(
                    f"cannot lock {self.run.path}: {error.strerror}. Check the permissions of {self.run.lock_file}."
                ) from None

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

    def _end_child(self) -> None:
        """Stop the stage of a runner that cannot continue: it saves its checkpoint and ends."""
        self._tell_child(signal.SIGTERM)
        if self.child is not None:
            self.child.wait()

    def _run_stage(self, stage: str) -> StageEnded:
        try:
            self._restart_stage(stage)
        except NanosoloError as error:
            ended = StageEnded(
                stage=stage, outcome="crashed", seconds=0.0, exit_code=error.exit_code, message=str(error)
            )
            self.events.write(ended)
            return ended
        argv = (sys.executable, "-m", "engine.stages.runtime", str(self.run.path), stage)
        threads = self._thread_environment(stage)
        kills = out_of_memory_kills()
        began = time.monotonic()
        self.faults = []
        with self.run.log_file.open("ab") as log:
            log_start = log.seek(0, os.SEEK_END)
            with signals_held_back():
                self.child = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(self.lock.fd,),
                    env={**torch_environment(deterministic=self.deterministic), **threads},
                )
        if self.stop_asked:  # the signal came when there was no child yet to pass it on to
            self._tell_child(signal.SIGTERM)
        self.events.write(StageStarted(stage=stage, pid=self.child.pid, argv=argv))
        peak = self._watch(self.child)
        code = self.child.returncode
        starved = out_of_memory_kills() > kills or self.monitor.killed(self.child.pid)
        log_end = tail(self.run.log_file, log_start)
        outcome = outcome_of(code, self.stop_asked, starved, log_end)
        self._report_faults()
        ended = StageEnded(
            stage=stage,
            outcome=outcome,
            seconds=time.monotonic() - began,
            exit_code=exit_code_of(outcome),
            peak_memory=peak,
            message=why(outcome, code, log_end, self.faults),
        )
        self.events.write(ended)
        return ended

    def _thread_environment(self, stage: str) -> dict[str, str]:
        """The CPU threads of a stage, as its libraries read them; a warning event where a run cannot keep those that it
        trained with."""
        config = self.run.config()
        threads = stage_threads(self.run, config)
        if config.runtime.threads is None and stage in MODEL_STAGES:
            message = threads_warning(trained_threads(self.run), threads)
            if message:
                self.events.write(Warning(stage=stage, step=0, code="threads_changed", message=message))
        return thread_environment(threads, config.runtime.threads or fair_threads(self.run))

    def _watch(self, child: subprocess.Popen[bytes]) -> int | None:
        """Wait for the child while sampling the machine. Returns the largest resident size seen, in bytes."""
        peak = 0
        next_sample = time.monotonic()
        while child.poll() is None:
            if time.monotonic() >= next_sample:
                next_sample = max(next_sample + SAMPLE_SECONDS, time.monotonic())
                peak = max(peak, _resident(child.pid))
                self._sample()
                self._look_for_preemption()
            time.sleep(POLL_SECONDS)
        return peak or None

    def _sample(self) -> None:
        """Look at the machine, and write down what is seen."""
        event = self.monitor.sample()
        if event is not None:
            self.events.write(event)
            for notice in self.monitor.notices(event):
                self.events.write(notice)
        self._report_faults()

    def _report_faults(self) -> None:
        for fault in self.monitor.faults():
            self.faults.append(fault)
            self.events.write(Advice(code=fault.code, message=str(fault), change={}, effect=""))

    def _look_for_preemption(self) -> None:
        """Stop after a checkpoint when someone has said, since this runner began, that the machine will be taken."""
        for path in self.notices:
            if not self.stop_asked and modified(path) > self.began:
                message = f"{path} says that this machine is about to be taken away: stopping after a checkpoint."
                self.events.write(Advice(code="preempted", message=message, change={}, effect=""))
                self._on_stop(signal.SIGTERM, None)


def start_runner(run: RunDirectory) -> subprocess.Popen[bytes]:
    """Start a detached runner for the run: own session, no terminal. Raises NanosoloError where it cannot.

    It keeps running when the terminal, the console or the SSH connection that started it ends.
    """
    try:
        log = run.log_file.open("ab")
    except OSError as error:
        raise cannot_write(run.log_file, error, 0) from None
    with log:
        return subprocess.Popen(
            (sys.executable, "-m", "engine", str(run.path)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=torch_environment(),
        )


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def modified(path: Path) -> float:
    """When a file was last changed, in Unix seconds; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Keep signals for a stage waiting while it is started: it is born with them held back, lets them in when it can
    answer them, and so neither dies of one that comes too early nor misses it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STAGE_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
