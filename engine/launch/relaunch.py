"""Going on with a run under a changed configuration: the old one is kept aside, and the change is written down."""

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
from engine.launch.control import require_startable, resume_run, start_run
from engine.run.directory import RunDirectory, require_own
from engine.run.planning import launch_plan

# What a checkpoint cannot be carried over to: it holds another model, or a place in differently cut text.
NEEDS_A_NEW_RUN = ("model.", "tokenizer.", "data.")


def goes_on(changes: Mapping[str, Any]) -> bool:
    """Whether a run can go on from its checkpoint with these changes, rather than start anew."""
    return not any(path.startswith(NEEDS_A_NEW_RUN) for path in changes)


def relaunch(run: RunDirectory, changes: Mapping[str, Any], effect: str = "") -> RunDirectory:
    """Start `run` again with the values at these dotted paths replaced. Returns the run that was started.

    It goes on from its last checkpoint; where the changes make another model of it, a new run is started instead and
    the old one stays as it is. Raises UsageError when it is running or the changes are not valid, and changes nothing.
    """
    if run.is_running():
        raise UsageError(f"run {run.name} is running. Stop it first: nanosolo stop {run.name}")
    require_own(run)
    before = run.config()
    config = with_changes(before, changes)
    if not goes_on(changes):
        return start_run(config)
    require_startable(run, config)  # before anything is changed
    rewrite(run, before, config, effect)
    resume_run(run)
    return run


def rewrite(run: RunDirectory, before: RunConfig, config: RunConfig, effect: str = "") -> None:
    """Give a run that is not running another configuration and plan, keep the old ones, and write an event of it."""
    plan = launch_plan(config)
    number = 1
    while _aside(run, number).exists():
        number += 1
    # a copy, so that the configuration is never missing; not every file system has links
    write_atomically(_aside(run, number), run.config_file.read_bytes())
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
        message = f"relaunched with {words or 'the same settings'}; before: {_aside(run, number).name}"
        log.write(Advice(code="relaunched", message=message, change=changed, effect=effect))
    finally:
        log.close()


def _aside(run: RunDirectory, number: int) -> Path:
    return run.path / f"run.before-{number}.toml"
