"""Running chosen stages of a run: alone, again, or beyond its pipeline; what that sets aside and what it leaves behind.

The wish is an event, so a go that is interrupted in any way goes on with it, and with nothing else.
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.config.layers import with_changes
from engine.config.schema import RunConfig, Stage
from engine.config.stages import first_missing, in_order, rests_on, with_needs
from engine.core import formatting
from engine.core.errors import UsageError
from engine.diagnostics.device_checks import Announce, be_silent
from engine.events.kinds import StagesAsked
from engine.events.log import EventLog
from engine.launch.control import require_finishable, require_startable, start_again, with_absolute_paths
from engine.launch.relaunch import goes_on, rewrite
from engine.run.archive import free_name, holds_result, size_of
from engine.run.directory import RunDirectory, require_own
from engine.run.stage_status import Standing, read_standing, results_of

DISK_RESERVE = 2**28  # bytes that are to stay free: events, logs, reports


class Asking(NamedTuple):
    """What it means to run some stages now."""

    stages: tuple[Stage, ...]
    again: tuple[str, ...]  # of these, those that begin anew
    half_done: tuple[str, ...]  # other stages, begun on what these make anew: they begin anew when their turn comes
    aside: Mapping[str, str]  # of all these, stages whose checkpoints move -> the folder beside, for example sft.1
    bytes: int  # that these hold
    stale: tuple[str, ...]  # stages whose result then rests on an earlier one


def weigh(run: RunDirectory, stages: Sequence[Stage], anew: bool = False, standing: Standing | None = None) -> Asking:
    """Judge what is asked for; nothing is changed. `anew`: also what is half done is to begin from its beginning.
    `standing`: where the run stands, if that is known already.

    Raises UsageError that names the stage to run first, or what to do about a disk that is too small.
    """
    pipeline = run.config().pipeline.stages
    standing = standing or read_standing(run, pipeline)
    there = results_of(run, standing)
    missing = first_missing(stages, there)
    if missing is not None:
        first = ",".join(with_needs(stages, there))
        raise UsageError(
            f"{missing.why}, which run {run.name} lacks. Run it first: nanosolo resume {run.name} --stages {first}"
        )
    resting = [stage for stage in standing.line(pipeline) if any(other in stages for other in rests_on(stage))]
    # what is half done on weights that change is no beginning of anything
    half_done = standing.begun & set(resting) - standing.done - standing.anew.keys() - {"report"}
    again = [stage for stage in stages if anew or stage in half_done or _is_whole(run, stage, standing)]
    others = in_order(half_done.difference(stages))
    aside: dict[str, str] = {stage: free_name(run, stage) for stage in [*again, *others] if holds_result(run, stage)}
    size = sum(size_of(run.checkpoints(stage)) for stage in aside)
    _require_room(run, aside, size)
    stale = [stage for stage in resting if stage not in stages and stage in standing.done]
    return Asking(tuple(stages), tuple(again), tuple(others), aside, size, tuple(stale))


def run_stages(
    run: RunDirectory,
    stages: Sequence[Stage],
    changes: Mapping[str, Any] | None = None,
    anew: bool = False,
    announce: Announce = be_silent,
) -> Asking | None:
    """Start a runner for these stages alone, or, without any, for what is left; with the values at these dotted paths
    replaced. Returns what that means; None without stages.

    Raises UsageError when the run is at work, the stages or changes cannot be, or nothing is left; nothing is changed
    then.
    """
    if run.is_running():
        raise UsageError(f"run {run.name} is running. Stop it first: nanosolo stop {run.name}")
    require_own(run)
    before = run.config()
    config = _changed(run, before, changes or {})
    asking = weigh(run, stages, anew) if stages else None
    if asking is None:
        require_finishable(run)
    require_startable(run, config, stages, announce)
    if config != before:
        rewrite(run, before, config)
    if asking is not None:
        _put_down(run, asking)
    start_again(run)
    return asking


def tell(run: RunDirectory, asking: Asking) -> list[str]:
    """What is asked for, and what follows from it, in a line each."""
    parts = []
    for stage in asking.stages:
        moves = f" (what it has moves to checkpoints/{asking.aside[stage]})" if stage in asking.aside else ""
        parts.append(f"{stage}{' again' if stage in asking.again else ''}{moves}")
    lines = [f"run {run.name}: {', '.join(parts)}"]
    if asking.half_done:
        lines.append(
            f"incomplete; built on weights that will be replaced, so it will restart: {', '.join(asking.half_done)}"
        )
    if asking.aside:
        lines.append(f"the archived checkpoints take {formatting.size(asking.bytes)} and stay until you remove them")
    if asking.stale:
        lines.append(
            f"! {_listed(asking.stale)} {'rests' if len(asking.stale) == 1 else 'rest'} on what was there before. "
            f"Repeat afterwards: nanosolo resume {run.name} --stages {','.join(asking.stale)}"
        )
    return lines


def _changed(run: RunDirectory, config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    for path, value in changes.items():
        if not goes_on({path: value}):
            raise UsageError(
                f"--set {path}={value}: the checkpoints of {run.name} do not fit what that makes. Start a new run: "
                f"nanosolo --config {run.config_file} --set {path}={value}"
            )
        if path == "pipeline.stages":
            raise UsageError(f"--set {path}: name the stages to run with --stages.")
    return with_absolute_paths(with_changes(config, changes))


def _put_down(run: RunDirectory, asking: Asking) -> None:
    log = EventLog(run.events_file)
    try:
        anew = {stage: asking.aside.get(stage, "") for stage in (*asking.again, *asking.half_done)}
        log.write(StagesAsked(stages=asking.stages, anew=anew))
        log.sync()
    finally:
        log.close()


def _is_whole(run: RunDirectory, stage: str, standing: Standing) -> bool:
    """Whether a stage has nothing to go on with: it is done, is to begin anew already, or came from elsewhere."""
    return (
        stage in standing.done or stage in standing.anew or (stage not in standing.begun and holds_result(run, stage))
    )


def _require_room(run: RunDirectory, aside: Mapping[str, str], size: int) -> None:
    """What is set aside stays, and as much is written anew."""
    free = shutil.disk_usage(run.path).free
    if aside and free < size + DISK_RESERVE:
        folders = " ".join(str(run.checkpoints(stage)) for stage in aside)
        raise UsageError(
            f"the disk has {formatting.size(free)} free: to repeat {_listed(tuple(aside))} and keep the "
            f"{formatting.size(size)} of checkpoints there are takes as much again. Free some, or give "
            f"them up: rm -r {folders}"
        )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
