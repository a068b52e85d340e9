"""What a user does to runs from outside, by command line or console: start, stop, checkpoint now, resume."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import psutil

from engine.config.layers import with_changes
from engine.config.schema import RunConfig
from engine.config.stages import LINE, first_missing
from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import user_name
from engine.diagnostics.device_checks import ON_DEVICE, Announce, be_silent, check_device, require_device
from engine.diagnostics.machine import Check, problem_of
from engine.diagnostics.preflight import preflight, require_ready
from engine.events.history import read_history
from engine.hardware.gpu_access import gpu_access, why_no_gpu
from engine.plan.absolute_paths import absolute, absolute_source, is_bundle_path
from engine.plan.other_card import OTHER_CARD, figures_of
from engine.plan.plan import Plan
from engine.run.directory import RunDirectory, create_run, free_name, require_own
from engine.run.planning import launch_plan, plan_here
from engine.run.runner import launch
from engine.run.stage_status import is_finished, read_standing

START_PATIENCE = 30.0  # seconds for the runner to take its lock, on a busy machine


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The configuration with paths of sources made absolute: the runner, and a resume, work in another directory."""
    changes: dict[str, str | list[str]] = {
        "data.paths": [absolute(path) for path in config.data.paths],
        "midtrain.sources": [absolute_source(source) for source in config.midtrain.sources],
        "sft.sources": [absolute_source(source) for source in config.sft.sources],
    }
    if is_bundle_path(config.evaluate.core):
        changes["evaluate.core"] = absolute(config.evaluate.core)
    return with_changes(config, changes)


class Readiness(NamedTuple):
    """The plan for this machine, and what speaks for and against a run on it."""

    plan: Plan
    checks: list[Check]


def readiness(config: RunConfig) -> Readiness:
    """All that is looked at before a new run, here and in `start_run`, but for the device: what that refuses is a
    `problem` here. Takes some milliseconds."""
    refused = []
    for name, require in (("stages", require_order), ("device", require_device)):
        try:
            require(config)
        except UsageError as error:
            refused.append(problem_of(name, error))
    if any(check.name == "device" for check in refused):
        plan = plan_here(config)  # for the device that is not here; what else is missing can be said all the same
        checks = [check for check in preflight(config, plan) if check.name != "GPU"]
        return Readiness(plan, refused + checks)
    plan = launch_plan(config)
    return Readiness(plan, [*refused, *_other_device(config, plan), *preflight(config, plan)])


def with_device(config: RunConfig, ready: Readiness, announce: Announce = be_silent) -> Readiness:
    """With the device tried as well, unless something else is in the way already. Takes seconds."""
    if any(check.verdict == "problem" for check in ready.checks):
        return ready
    tried = check_device(config, ready.plan, config.pipeline.stages, announce)
    return ready if tried is None else Readiness(ready.plan, [*ready.checks, tried])


def _other_device(config: RunConfig, plan: Plan) -> Iterator[Check]:
    """A note where the configuration names another card than the run will use, with the figures of both."""
    if plan.gpu == "cpu":
        return
    named = plan_here(config)
    if any(warning.code == OTHER_CARD for warning in named.warnings):
        finding = f"this machine has {figures_of(plan)}; the configuration names {figures_of(named)}"
        action = "the run is planned for the card that is here, as with --gpu auto"
        yield Check(name="device", verdict="note", finding=finding, action=action)


def start_run(config: RunConfig, name: str | None = None, announce: Announce = be_silent) -> RunDirectory:
    """Create a run and start its runner, detached. Raises UsageError or NanosoloError and leaves no directory then.
    `announce` is told of what takes seconds."""
    config = with_absolute_paths(config)
    require_order(config)
    require_device(config)
    ready = with_device(config, readiness(config), announce)
    require_ready(ready.checks)
    run = create_run(name or free_name(config.about.preset), config, ready.plan)
    wait_until_running(run, launch(run))
    return run


def require_order(config: RunConfig) -> None:
    """Raises UsageError when a stage of the pipeline stands without what it needs before it."""
    missing = first_missing(config.pipeline.stages)
    if missing is not None:
        raise UsageError(
            f"pipeline.stages: {missing.why}, which is not before it. Add {missing.first}, or leave "
            f"{missing.stage} out."
        )


def resume_run(run: RunDirectory, announce: Announce = be_silent) -> None:
    """Start a runner for what is left of a run. Raises UsageError when one is at work or nothing is left."""
    if run.is_running():
        raise UsageError(f"run {run.name} is running already. Watch it with: nanosolo attach {run.name}")
    require_finishable(run)
    require_startable(run, run.config(), announce=announce)
    start_again(run)


def require_finishable(run: RunDirectory) -> None:
    """Raises UsageError when nothing is left to do."""
    if is_finished(run):
        pipeline = run.config().pipeline.stages
        again = next((stage for stage in reversed(pipeline) if stage in LINE), pipeline[-1])
        raise UsageError(
            f"run {run.name} is finished. See it with: nanosolo report {run.name}, or run a stage again: "
            f"nanosolo resume {run.name} --stages {again}"
        )


def require_startable(
    run: RunDirectory, config: RunConfig, stages: Sequence[str] = (), announce: Announce = be_silent
) -> None:
    """Raises UsageError when this user or this machine cannot go on with the run under this configuration. `stages`:
    those that will run; none: what is left of the run."""
    require_own(run)
    require_device(config)
    stages = stages or read_standing(run, config.pipeline.stages).left
    plan = launch_plan(with_changes(config, {"pipeline.stages": list(stages)}) if stages else config)
    require_same_kind(run, config, plan, stages)
    require_ready(preflight(config, plan, run=run, stages=stages))
    tried = check_device(config, plan, stages, announce)
    require_ready([tried] if tried is not None else [])


def require_same_kind(run: RunDirectory, config: RunConfig, plan: Plan, stages: Sequence[str]) -> None:
    """Raises UsageError where `auto` would take a run that was planned for a GPU on with the CPU."""
    before = run.plan()
    if before is None or before.gpu == "cpu" or plan.gpu != "cpu" or not ON_DEVICE.intersection(stages):
        return
    if config.runtime.gpu == "auto" and config.runtime.device == "auto":
        fault = why_no_gpu(gpu_access())
        raise UsageError(
            f"run {run.name} was planned for {before.gpu_name}: {fault.what}. {fault.action}; or resume on the CPU: "
            f"nanosolo resume {run.name} --set runtime.gpu=cpu"
        )


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
        try:
            os.kill(pid, number)
        except PermissionError:
            raise UsageError(
                f"run {run.name} was started by {_user_of(pid)}: only they, or root, can stop it. Ask them."
            ) from None


def _user_of(pid: int) -> str:
    try:
        return user_name(psutil.Process(pid).uids().real)
    except psutil.Error:
        return "another user"


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
