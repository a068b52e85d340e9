"""The notice that the machine is about to be taken away: a file that a cloud's script, or anyone, touches."""

from pathlib import Path

from engine.config.schema import RunConfig
from engine.run.directory import RunDirectory


def preemption_notice(run: RunDirectory, config: RunConfig) -> Path | None:
    """The file that says so, `preempt` in the run's directory or the configured one; None without notice."""
    named = config.runtime.preempt_file
    for path in (run.preempt_file, *([Path(named)] if named else [])):
        if path.exists():
            return path
    return None


def forget_notice(run: RunDirectory) -> None:
    """Remove the run's own notice, so that a resume can continue. A configured file is removed by its owner."""
    run.preempt_file.unlink(missing_ok=True)
