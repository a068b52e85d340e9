"""Reruns chosen stages of a run: alone, again, or beyond its pipeline; what that archives and what it leaves outdated.

The request is an event, so an interrupted rerun continues with exactly these stages when the run is resumed.
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.config.layers import with_changes
from engine.config.schema import RunConfig, Stage
from engine.config.stages import first_missing, in_order, rests_on, with_needs
from engine.core import formatting
from engine.core.errors import UsageError
from engine.core.units import MIB
from engine.diagnostics.device_checks import Announce, be_silent
from engine.events.kinds import StagesAsked
from engine.events.log import EventLog
from engine.launch.prepare import plan_of_run, prepare, require_startable
from engine.launch.relaunch import fits_checkpoint, rewrite
from engine.launch.start import require_unfinished, start
from engine.run.archive import archive_name, holds_result, size_of
from engine.run.directory import RunDirectory, require_own
from engine.run.stage_status import StageStatus, read_stage_status, results_of

MIN_FREE = 256 * MIB  # that must stay free for events, logs, reports


class RerunPlan(NamedTuple):
    """What it means to run some stages now."""

    stages: tuple[Stage, ...]
    restarted: tuple[str, ...]  # of these, those that start from the beginning
    restarted_later: tuple[str, ...]  # other incomplete stages, built on weights that are replaced: restart in turn
    archived: Mapping[str, str]  # of all these, stages whose checkpoints move -> the new folder, for example sft.1
    bytes: int  # that these checkpoints take
    outdated: tuple[str, ...]  # completed stages whose results then belong to earlier weights


def plan_rerun(
    run: RunDirectory, stages: Sequence[Stage], restart: bool = False, status: StageStatus | None = None
) -> RerunPlan:
    """What running these stages means; nothing is changed. `restart`: incomplete stages start from the beginning too.
    `status`: the status of the run's stages, if that is known already.

    Raises UsageError that names the stage to run first, or what to do about a disk that is too small.
    """
    pipeline = run.config().pipeline.stages
    status = status or read_stage_status(run, pipeline)
    there = results_of(run, status)
    missing = first_missing(stages, there)
    if missing is not None:
        first = ",".join(with_needs(stages, there))
        raise UsageError(
            f"{missing.why}, which run {run.name} lacks. Run it first: nanosolo resume {run.name} --stages {first}"
        )
    resting = [stage for stage in status.all_stages(pipeline) if any(other in stages for other in rests_on(stage))]
    # an incomplete stage cannot continue once the weights that it started from are replaced
    incomplete = status.begun & set(resting) - status.done - status.restart.keys() - {"report"}
    restarted = [s for s in stages if restart or s in incomplete or _starts_over(run, s, status)]
    others = in_order(incomplete.difference(stages))
    archived = {stage: archive_name(run, stage) for stage in [*restarted, *others] if holds_result(run, stage)}
    size = sum(size_of(run.checkpoints(stage)) for stage in archived)
    _require_room(run, archived, size)
    outdated = [stage for stage in resting if stage not in stages and stage in status.done]
    return RerunPlan(tuple(stages), tuple(restarted), tuple(others), archived, size, tuple(outdated))


def rerun_stages(
    run: RunDirectory,
    stages: Sequence[Stage],
    changes: Mapping[str, Any] | None = None,
    restart: bool = False,
    announce: Announce = be_silent,
) -> RerunPlan | None:
    """Start a runner for these stages alone, or, without any, for the unfinished ones, with the values at these dotted
    paths replaced. Returns what that means; None without stages.

    Raises UsageError when the run is running, the stages or changes are not possible, or all stages are done; nothing
    is changed then.
    """
    if run.is_running():
        raise UsageError(f"run {run.name} is running. Stop it first: nanosolo stop {run.name}")
    require_own(run)
    before = run.config()
    config = _changed(run, before, changes or {})
    rerun = plan_rerun(run, stages, restart) if stages else None
    if rerun is None:
        require_unfinished(run)
    launch = require_startable(prepare(config, run, stages), announce)
    if launch.config != before:
        rewrite(run, before, launch.config, plan_of_run(launch))
    if rerun is not None:
        _record(run, rerun)
    start(launch)
    return rerun


def describe(run: RunDirectory, rerun: RerunPlan) -> list[str]:
    """What runs, and what follows from it, in a line each."""
    parts = []
    for stage in rerun.stages:
        moves = f" (its checkpoints move to checkpoints/{rerun.archived[stage]})" if stage in rerun.archived else ""
        parts.append(f"{stage}{' again' if stage in rerun.restarted else ''}{moves}")
    lines = [f"run {run.name}: {', '.join(parts)}"]
    if rerun.restarted_later:
        lines.append(
            "incomplete; built on weights that will be replaced, so it will restart: "
            f"{', '.join(rerun.restarted_later)}"
        )
    if rerun.archived:
        lines.append(f"the archived checkpoints take {formatting.size(rerun.bytes)} and stay until you remove them")
    if rerun.outdated:
        lines.append(
            f"! outdated after this, as built on earlier weights: {', '.join(rerun.outdated)}. "
            f"Run again afterwards: nanosolo resume {run.name} --stages {','.join(rerun.outdated)}"
        )
    return lines


def _changed(run: RunDirectory, config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    for path, value in changes.items():
        if not fits_checkpoint({path: value}):
            raise UsageError(
                f"--set {path}={value}: the checkpoints of {run.name} do not fit this change. Start a new run: "
                f"nanosolo --config {run.config_file} --set {path}={value}"
            )
        if path == "pipeline.stages":
            raise UsageError(f"--set {path}: name the stages to run with --stages.")
    return with_changes(config, changes)


def _record(run: RunDirectory, rerun: RerunPlan) -> None:
    log = EventLog(run.events_file)
    try:
        anew = {stage: rerun.archived.get(stage, "") for stage in (*rerun.restarted, *rerun.restarted_later)}
        log.write(StagesAsked(stages=rerun.stages, anew=anew))
        log.sync()
    finally:
        log.close()


def _starts_over(run: RunDirectory, stage: str, status: StageStatus) -> bool:
    """Whether a stage has nothing to continue: it is done, restarts already, or its result came from elsewhere."""
    return stage in status.done or stage in status.restart or (stage not in status.begun and holds_result(run, stage))


def _require_room(run: RunDirectory, archived: Mapping[str, str], size: int) -> None:
    """What is archived stays, and as much is written again."""
    free = shutil.disk_usage(run.path).free
    if archived and free < size + MIN_FREE:
        folders = " ".join(str(run.checkpoints(stage)) for stage in archived)
        raise UsageError(
            f"the disk has {formatting.size(free)} free, too little to run {_listed(tuple(archived))} again and keep "
            f"the existing checkpoints ({formatting.size(size)}). Free some space, or delete the checkpoints: "
            f"rm -r {folders}"
        )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
