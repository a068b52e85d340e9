"""What a user does to runs from outside, by command line or console: start, stop, checkpoint now, resume."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

from engine.errors import NanosoloError, UsageError
from engine.plan.config import RunConfig, with_changes
from engine.plan.gpus import Gpu
from engine.plan.pipeline import first_missing
from engine.plan.plan import Plan, make_plan
from engine.run.calibration import read_calibration
from engine.run.directory import RunDirectory, create_run, free_name
from engine.run.hardware import detect, device_for, require_device
from engine.run.history import read_history
from engine.run.preflight import preflight, require_ready
from engine.run.runner import launch
from engine.run.standing import read_standing

START_PATIENCE = 30.0  # seconds for the runner to take its lock, on a busy machine


def plan_here(config: RunConfig) -> Plan:
    """The plan for the device that the configuration names, or for the one found here."""
    return plan_on(config, device_for(config))


def plan_on(config: RunConfig, gpu: Gpu) -> Plan:
    """The plan for a device, corrected by what was measured on it here."""
    return make_plan(config, gpu, read_calibration(gpu))


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The configuration with data.paths made absolute: the runner, and a resume, work in another directory."""
    paths = [str(Path(path).expanduser().absolute()) for path in config.data.paths]
    return with_changes(config, {"data.paths": paths})


def start_run(config: RunConfig, name: str | None = None) -> RunDirectory:
    """Create a run and start its runner, detached. Raises UsageError or NanosoloError and leaves no directory then."""
    config = with_absolute_paths(config)
    require_order(config)
    require_device(config)
    on_this_machine = plan_on(config, detect() if config.runtime.device != "cpu" else device_for(config))
    require_ready(preflight(config, on_this_machine))
    run = create_run(name or free_name(config.about.preset), config, on_this_machine)
    wait_until_running(run, launch(run))
    return run


def require_order(config: RunConfig) -> None:
    """Raises UsageError when a stage of the pipeline stands without what it needs before it."""
    missing = first_missing(config.pipeline.stages)
    if missing is not None:
        raise UsageError(
            f"pipeline.stages: {missing.why}, which does not stand before it. Put {missing.first} there, or leave "
            f"{missing.stage} out."
        )


def resume_run(run: RunDirectory) -> None:
    """Start a runner for what is left of a run. Raises UsageError when one is at work or nothing is left."""
    if run.is_running():
        raise UsageError(f"run {run.name} is running already. Watch it with: nanosolo attach {run.name}")
    require_finishable(run)
    require_startable(run, run.config())
    start_again(run)


def is_finished(run: RunDirectory) -> bool:
    """Whether the run came to its end and nothing is left of what was asked for."""
    ended = read_history(run.events_file).ended
    return ended is not None and ended.outcome == "done" and not read_standing(run, run.config().pipeline.stages).left


def require_finishable(run: RunDirectory) -> None:
    """Raises UsageError when nothing is left to do."""
    if is_finished(run):
        raise UsageError(
            f"run {run.name} is finished. See it with: nanosolo report {run.name}, or run a stage again: "
            f"nanosolo resume {run.name} --stages sft"
        )


def require_startable(run: RunDirectory, config: RunConfig) -> None:
    """Raises UsageError when this machine cannot go on with the run under this configuration."""
    require_device(config)
    require_ready(preflight(config, plan_here(config), run=run))


def start_again(run: RunDirectory) -> None:
    """Start another runner for a run that is not at work."""
    run.runner_file.unlink(missing_ok=True)  # it names the last runner; the new one writes its own
    wait_until_running(run, launch(run))


def wait_until_running(run: RunDirectory, runner: "subprocess.Popen[bytes]") -> None:
    """Return once the runner holds its lock, or has been and gone. Raises NanosoloError when it does not come up."""
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        ended = runner.poll() is not None
        if run.runner_file.exists() and (ended or run.is_running()):
            return
        if ended:
            break
        time.sleep(0.05)
    raise NanosoloError(f"the runner of {run.name} did not start. See why in {run.log_file}.")


def stop_run(run: RunDirectory, now: bool = False) -> None:
    """Ask the run to stop: after a checkpoint, or `now`, without one. Raises UsageError when nothing runs."""
    _signal(run, signal.SIGQUIT if now else signal.SIGTERM)


def ask_for_checkpoint(run: RunDirectory) -> None:
    """Ask the run to write a checkpoint at the next step. Raises UsageError when nothing runs."""
    _signal(run, signal.SIGUSR1)


def _signal(run: RunDirectory, number: signal.Signals) -> None:
    if not run.is_running():
        raise UsageError(f"run {run.name} is not running. Its state: nanosolo runs")
    runner = run.runner()
    pid = runner.pid if runner is not None else _orphaned_stage(run)
    if pid is None:
        raise NanosoloError(f"run {run.name} is held by a process that cannot be found on this machine.")
    if runner is None and number == signal.SIGQUIT:
        number = signal.SIGKILL  # an orphaned stage has no runner to kill it
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _orphaned_stage(run: RunDirectory) -> int | None:
    """The process of the stage that outlived its runner."""
    history = read_history(run.events_file)
    if history.current is None:
        return None
    pid = history.stages[history.current].pid
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return None
    return pid if str(run.path) in command else None
