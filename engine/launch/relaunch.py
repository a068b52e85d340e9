"""Continues a run with changed settings: the old configuration is archived, and an event records the change."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.config.layers import to_toml, with_changes
from engine.config.schema import RunConfig, get
from engine.core.atomic_io import write_atomically
from engine.core.errors import UsageError
from engine.events.kinds import Advice
from engine.events.log import EventLog
from engine.launch.prepare import plan_of_run, prepare, require_startable
from engine.launch.start import require_unfinished, start
from engine.plan.plan import Plan
from engine.run.directory import RunDirectory, require_own

# Checkpoints do not fit another model, or a position in text that was tokenized differently.
NEEDS_A_NEW_RUN = ("model.", "tokenizer.", "data.")


def fits_checkpoint(changes: Mapping[str, Any]) -> bool:
    """Whether a run can continue from its checkpoint with these changes; else they need a new run."""
    return not any(path.startswith(NEEDS_A_NEW_RUN) for path in changes)


def relaunch(run: RunDirectory, changes: Mapping[str, Any], effect: str = "") -> RunDirectory:
    """Start `run` again with the values at these dotted paths replaced. Returns the run that was started.

    It continues from its last checkpoint. Where the changes make another model, a new run is started instead and the
    old one stays as it is. `effect`: what the changes are expected to do, for the event. Raises UsageError when the run
    is running or finished or the changes are not valid; nothing is changed then.
    """
    if run.is_running():
        raise UsageError(f"run {run.name} is running. Stop it first: nanosolo stop {run.name}")
    require_own(run)
    before = run.config()
    config = with_changes(before, changes)
    if not fits_checkpoint(changes):
        return start(prepare(config))
    require_unfinished(run)
    launch = require_startable(prepare(config, run))
    rewrite(run, before, launch.config, plan_of_run(launch), effect)
    return start(launch)


def rewrite(run: RunDirectory, before: RunConfig, config: RunConfig, plan: Plan, effect: str = "") -> None:
    """Give a run that is not running another configuration and plan, archive the old configuration, and record the
    change as an event."""
    number = 1
    while _archived(run, number).exists():
        number += 1
    # a copy, so that the configuration is never missing; not every file system has links
    write_atomically(_archived(run, number), run.config_file.read_bytes())
    write_atomically(run.config_file, to_toml(config).encode())
    write_atomically(run.plan_file, msgspec.json.format(msgspec.json.encode(plan), indent=2))
    changed = {
        f"{section}.{key}": value
        for section, values in msgspec.to_builtins(config).items()
        for key, value in values.items()
        if get(before, f"{section}.{key}") != get(config, f"{section}.{key}")
    }
    words = ", ".join(f"{path} {get(before, path)} -> {value}" for path, value in changed.items())
    log = EventLog(run.events_file)
    try:
        message = f"relaunched with {words or 'the same settings'}; before: {_archived(run, number).name}"
        log.write(Advice(code="relaunched", message=message, change=changed, effect=effect))
    finally:
        log.close()


def _archived(run: RunDirectory, number: int) -> Path:
    return run.path / f"run.before-{number}.toml"
