"""The checks before a run: whether this machine can carry it to its end."""

import os
from collections.abc import Collection, Sequence

from engine.config.layers import with_changes
from engine.config.schema import RunConfig
from engine.config.stages import MODEL_STAGES
from engine.core import formatting
from engine.core.diagnostic import Diagnostic
from engine.core.errors import UsageError
from engine.diagnostics.driver_checks import check_driver
from engine.diagnostics.machine import (
    check_caches,
    check_clock,
    check_compiler,
    check_gpu,
    check_home,
    check_home_owner,
    check_host_memory,
    check_no_gpu,
    check_shared_memory,
    check_stop,
    check_text,
    check_vram,
)
from engine.diagnostics.session_checks import check_session
from engine.diagnostics.source_checks import check_sources
from engine.hardware.detect import detect_cpu
from engine.hardware.gpu_catalog import by_id
from engine.hardware.probe_machine import MachineProbe
from engine.plan.host_memory import CUDA_PROCESS
from engine.plan.plan import Plan, make_plan
from engine.run.archive import size_of
from engine.run.calibration_store import read_calibration
from engine.run.directory import RunDirectory

READS_TEXT = frozenset(("data", "tokenizer", "tokenize"))


def preflight(
    config: RunConfig,
    plan: Plan,
    look: MachineProbe,
    run: RunDirectory | None = None,
    stages: Collection[str] | None = None,
) -> list[Diagnostic]:
    """What speaks for and against this run on this machine; a `problem` means that it cannot work.

    `look`: the probe of the machine. `run`: the run to resume, if there is one.
    `stages`: those that will run (default: the pipeline); the plan is of these alone.
    """
    stages = config.pipeline.stages if stages is None else stages
    on_gpu = plan.gpu != "cpu" and plan.peak_memory > 0
    floor = memory_floor(plan)
    found: list[Diagnostic | None] = [
        check_text(config.data) if READS_TEXT.intersection(stages) else None,
        *check_sources(config, stages),
        check_home(look, home_origin(), disk_need(plan, look, run)),
        check_home_owner(look),
        *check_caches(look),
    ]
    if on_gpu:
        found += [
            *check_gpu(look),
            check_driver(look.gpu, look.torch),
            check_vram(look.gpu, plan.peak_memory, floor),
            check_host_memory(look, plan.host_memory, CUDA_PROCESS),
        ]
    else:
        found.append(check_host_memory(look, plan.peak_memory, floor))
    if plan.gpu == "cpu" and plan.peak_memory and (config.runtime.gpu, config.runtime.device) == ("auto", "auto"):
        found.append(check_no_gpu(look))
    if plan.compiled and plan.trains:
        lacks = look.tools.missing(on_gpu)
        found.append(check_compiler(look, on_gpu, cost_of_eager(config, plan, look) if lacks else ""))
    found += [
        check_shared_memory(look),
        check_clock(look),
        check_session(look.root),
        check_stop(plan.stop_seconds if plan.trains else None),
    ]
    return [check for check in found if check is not None]


def require_ready(checks: Sequence[Diagnostic]) -> None:
    """Raises UsageError with the first error and its fix."""
    for check in checks:
        if check.severity == "error":
            action = check.help.rstrip(".")
            raise UsageError(f"{check.subject}: {check.message}. {action[:1].upper()}{action[1:]}.")


def memory_floor(plan: Plan) -> int:
    """Bytes on the device that no batch setting saves: weights, gradients and optimizer."""
    if not plan.peak_memory:
        return 0
    memory = plan.memory
    return memory.weights + (memory.gradients + memory.optimizer if plan.trains else 0)


def cost_of_eager(config: RunConfig, plan: Plan, look: MachineProbe) -> str:
    """What the plan takes without torch.compile, in words that follow the advice to do without."""
    here = look.gpu.gpu if look.gpu is not None else None
    gpu = here if plan.gpu != "cpu" else detect_cpu(config.runtime.threads)
    if gpu is None or gpu.id != plan.gpu:
        gpu = by_id(plan.gpu)
    eager = make_plan(with_changes(config, {"runtime.compile": "off"}), gpu, read_calibration(gpu))
    if not eager.memory.fits:
        return (
            f", which needs {formatting.size(eager.memory.total)} and does not fit: lower batch.device_batch_size too"
        )
    hours = (eager.time.hours, plan.time.hours)
    if None in hours:
        return ""
    slow, fast = (formatting.duration(3600 * taken) for taken in hours if taken is not None)
    return f", which takes about {slow}, not {fast}"


def disk_need(plan: Plan, look: MachineProbe, run: RunDirectory | None = None) -> int:
    """Bytes that the run will still write, without the text, tokens and checkpoints that exist already."""
    shards = max(0, plan.disk.shards - look.shards)
    tokens = max(0, plan.disk.tokens - look.tokens)
    # archived checkpoints do not count: they stay, and new ones need room as well
    trains = [stage.stage for stage in plan.stages if stage.stage in MODEL_STAGES]
    kept = sum(size_of(run.checkpoints(stage)) for stage in trains) if run is not None else 0
    return shards + tokens + max(0, plan.disk.checkpoints - kept)


def home_origin() -> str:
    """Why the home is where it is."""
    return "NANOSOLO_HOME" if os.environ.get("NANOSOLO_HOME") else "the default; NANOSOLO_HOME moves it"
