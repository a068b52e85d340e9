"""Controls a run from outside, from the command line or the console: stop, checkpoint now."""

import contextlib
import os
import signal

import psutil

from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import user_name
from engine.events.history import read_history
from engine.run.directory import RunDirectory


def stop_run(run: RunDirectory, now: bool = False) -> None:
    """Stop the run after a checkpoint, or `now`, without one. Raises UsageError when nothing runs."""
    _signal(run, signal.SIGQUIT if now else signal.SIGTERM)


def ask_for_checkpoint(run: RunDirectory) -> None:
    """Have the run write a checkpoint at the next step. Raises UsageError when nothing runs."""
    _signal(run, signal.SIGUSR1)


def _signal(run: RunDirectory, number: signal.Signals) -> None:
    if not run.is_running():
        raise UsageError(f"run {run.name} is not running. See the state of all runs with: nanosolo runs")
    runner = run.runner()
    pid = runner.pid if runner is not None else _orphaned_stage(run)
    if pid is None:
        raise NanosoloError(
            f"run {run.name} is locked by a process that cannot be found on this machine. If the run directory is on a "
            "shared disk, use the machine that runs it."
        )
    if runner is None and number == signal.SIGQUIT:
        number = signal.SIGKILL  # an orphaned stage has no runner to kill it
    with contextlib.suppress(ProcessLookupError):
        try:
            os.kill(pid, number)
        except PermissionError:
            raise UsageError(
                f"run {run.name} was started by {_user_of(pid)}: only this user or root can stop it. Ask them."
            ) from None


def _user_of(pid: int) -> str:
    try:
        return user_name(psutil.Process(pid).uids().real)
    except psutil.Error:
        return "another user"


def _orphaned_stage(run: RunDirectory) -> int | None:
    """The process of a stage whose runner died."""
    history = read_history(run.events_file)
    if history.current is None:
        return None
    pid = history.stages[history.current].pid
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return None
    return pid if str(run.path) in command else None
