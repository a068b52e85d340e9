"""Starts a prepared launch: creates the run where it is new, and starts its runner, detached."""

import subprocess
import time

from engine.config.stages import MODEL_STAGES
from engine.core.errors import NanosoloError, UsageError
from engine.diagnostics.device_checks import Announce, be_silent
from engine.launch.prepare import Launch, prepare, require_startable
from engine.run.directory import RunDirectory, create_run, free_name
from engine.run.runner import start_runner
from engine.run.stage_status import is_finished

RUNNER_TIMEOUT = 30.0  # seconds in which the runner takes its lock, on a busy machine


def start(launch: Launch, name: str | None = None, announce: Announce = be_silent) -> RunDirectory:
    """Start what was prepared, and return its run once the runner works. `name`: of a new run; none: a free one.

    Tries the device first, where that was not done yet; `announce` is called before it. Raises UsageError with the
    first problem, or NanosoloError; a new run then has no directory.
    """
    launch = require_startable(launch, announce)
    run = launch.run
    if run is None:
        run = create_run(name or free_name(launch.config.about.preset), launch.config, launch.plan)
    else:
        run.runner_file.unlink(missing_ok=True)  # it names the last runner; the new one writes its own
    wait_until_running(run, start_runner(run))
    return run


def resume_run(run: RunDirectory, announce: Announce = be_silent) -> None:
    """Start a runner for the unfinished stages of a run. Raises UsageError when it is running or finished."""
    if run.is_running():
        raise UsageError(f"run {run.name} is running already. Watch it with: nanosolo attach {run.name}")
    require_unfinished(run)
    start(prepare(run.config(), run), announce=announce)


def require_unfinished(run: RunDirectory) -> None:
    """Raises UsageError when all stages are done."""
    if is_finished(run):
        pipeline = run.config().pipeline.stages
        again = next((stage for stage in reversed(pipeline) if stage in MODEL_STAGES), pipeline[-1])
        raise UsageError(
            f"run {run.name} is finished. See it with: nanosolo report {run.name}, or run a stage again: "
            f"nanosolo resume {run.name} --stages {again}"
        )


def wait_until_running(run: RunDirectory, runner: "subprocess.Popen[bytes]") -> None:
    """Return once the runner holds its lock or has ended. Raises NanosoloError when it does not start."""
    deadline = time.monotonic() + RUNNER_TIMEOUT
    while time.monotonic() < deadline:
        ended = runner.poll() is not None
        if run.runner_file.exists() and (ended or run.is_running()):
            return
        if ended:
            break
        time.sleep(0.05)
    raise NanosoloError(f"the runner of {run.name} did not start. See why in {run.log_file}.")
