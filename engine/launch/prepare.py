"""Prepares a launch: absolute paths, order of stages, plan and checks, each once; the device is tried last."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine.config.layers import with_changes
from engine.config.schema import RunConfig
from engine.config.stages import first_missing
from engine.core.diagnostic import Diagnostic, checked, refused
from engine.core.errors import UsageError
from engine.diagnostics.device_checks import ON_DEVICE, Announce, be_silent, check_device, require_device
from engine.diagnostics.preflight import preflight, require_ready
from engine.hardware.detect import card_for, launch_device
from engine.hardware.gpu_access import GpuAccess, why_no_gpu
from engine.hardware.gpu_catalog import Gpu
from engine.hardware.probe_machine import MachineProbe, probe_machine
from engine.plan.absolute_paths import absolute, absolute_source, is_bundle_path
from engine.plan.other_card import figures_of
from engine.plan.plan import Plan
from engine.run.directory import RunDirectory, require_own
from engine.run.planning import plan_on
from engine.run.stage_status import read_stage_status


class Launch(NamedTuple):
    """A run that is ready to start, or the reasons why it cannot. `start` starts exactly this."""

    config: RunConfig  # with absolute paths
    stages: tuple[str, ...]  # that will run
    device: Gpu  # that they will use on this machine
    plan: Plan  # of these stages on this device
    checks: tuple[Diagnostic, ...]
    run: RunDirectory | None = None  # that continues; None: `start` creates one
    device_tried: bool = False  # whether the checks include an attempt to use the device

    @property
    def problems(self) -> list[Diagnostic]:
        """The checks that prevent the start."""
        return [check for check in self.checks if check.severity == "error"]


def prepare(config: RunConfig, run: RunDirectory | None = None, stages: Sequence[str] = ()) -> Launch:
    """Plan and check a launch without changing anything. Takes some milliseconds; the device is not tried yet.

    `run`: the run that continues; none: a new one. `stages`: those of the run that will run; none: the unfinished ones.
    What prevents the start is a check of severity `error`. Raises UsageError for an unknown GPU, for a run of
    another user, and where a file of the run cannot be read.
    """
    config = with_absolute_paths(config)
    pipeline = config.pipeline.stages
    if run is None:
        stages = pipeline
    else:
        require_own(run)
        stages = stages or read_stage_status(run, pipeline).left or pipeline
    machine = probe_machine()
    gpu = machine.gpu.gpu if machine.gpu is not None else None
    device = launch_device(config, gpu)
    planned = config if tuple(stages) == pipeline else with_changes(config, {"pipeline.stages": list(stages)})
    plan = plan_on(planned, device)
    checks = [
        *(_check_order(pipeline) if run is None else _check_same_device(run, config, plan, stages, machine)),
        *_check_device_is_here(config, gpu),
    ]
    explained = any(check.subject == "device" for check in checks)  # why there is no GPU
    checks += _check_other_card(planned, plan, gpu)
    checks += [c for c in preflight(config, plan, machine, run, stages) if not (explained and c.subject == "GPU")]
    return Launch(config, tuple(stages), device, plan, tuple(checks), run)


def try_device(launch: Launch, announce: Announce = be_silent) -> Launch:
    """The launch with its device tried, unless that was done before or a problem prevents the start anyway.

    Takes seconds: call it in a thread. `announce` is called before the attempt begins.
    """
    if launch.device_tried or launch.problems:
        return launch
    tried = check_device(launch.config, launch.plan, launch.stages, announce)
    checks = launch.checks if tried is None else (*launch.checks, tried)
    return launch._replace(checks=checks, device_tried=True)


def require_startable(launch: Launch, announce: Announce = be_silent) -> Launch:
    """The launch with its device tried. Raises UsageError with the first problem and its fix."""
    launch = try_device(launch, announce)
    require_ready(launch.checks)
    return launch


def plan_of_run(launch: Launch) -> Plan:
    """The plan of the run's whole pipeline, of which the launch may do only a part."""
    if launch.stages == launch.config.pipeline.stages:
        return launch.plan
    return plan_on(launch.config, launch.device)


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The configuration with the paths of sources made absolute: the runner works in another directory."""
    changes: dict[str, str | list[str]] = {
        "data.paths": [absolute(path) for path in config.data.paths],
        "midtrain.sources": [absolute_source(source) for source in config.midtrain.sources],
        "sft.sources": [absolute_source(source) for source in config.sft.sources],
    }
    if is_bundle_path(config.evaluate.core):
        changes["evaluate.core"] = absolute(config.evaluate.core)
    return with_changes(config, changes)


def _check_order(pipeline: Sequence[str]) -> Iterator[Diagnostic]:
    """A problem where a stage does not have what it needs before it."""
    missing = first_missing(pipeline)
    if missing is not None:
        finding = f"{missing.why}, which pipeline.stages does not have before it"
        action = f"add {missing.first}, or remove {missing.stage}"
        yield checked("stages", "error", finding, action)


def _check_device_is_here(config: RunConfig, gpu: Gpu | None) -> Iterator[Diagnostic]:
    """A problem where the configuration requires a GPU that this machine does not have."""
    try:
        require_device(config, gpu)
    except UsageError as error:
        yield refused("device", error)


def _check_same_device(
    run: RunDirectory, config: RunConfig, plan: Plan, stages: Sequence[str], machine: MachineProbe
) -> Iterator[Diagnostic]:
    """A problem where `auto` would continue a run on the CPU that was planned for a GPU."""
    before = run.plan()
    if before is None or before.gpu == "cpu" or plan.gpu != "cpu" or not ON_DEVICE.intersection(stages):
        return
    if config.runtime.gpu == "auto" and config.runtime.device == "auto":
        fault = why_no_gpu(machine.access or GpuAccess())
        finding = f"run {run.name} was planned for {before.gpu_name}: {fault.message}"
        action = f"{fault.help}; or resume on the CPU: nanosolo resume {run.name} --set runtime.gpu=cpu"
        yield checked("device", "error", finding, action)


def _check_other_card(config: RunConfig, plan: Plan, gpu: Gpu | None) -> Iterator[Diagnostic]:
    """A note where the configuration names another GPU than the one that the run will use, with the figures of both."""
    named = card_for(config, gpu)
    if gpu is None or named is None or plan.gpu == "cpu" or named.id == gpu.id or not plan.peak_memory:
        return
    finding = f"this machine has {figures_of(plan)}; the configuration names {figures_of(plan_on(config, named))}"
    action = "the run is planned for the GPU of this machine, as with --gpu auto"
    yield checked("device", "note", finding, action)
