"""A warning where a stage loads a checkpoint that other code of nanosolo wrote."""

from functools import cache
from pathlib import Path

from engine.checkpoint.manifest import code_of
from engine.events.kinds import Warning
from engine.hardware.versions import this_code, warning_of_other_code
from engine.run.stage_context import StageContext


@cache  # once per process and checkpoint
def check_code(context: StageContext, checkpoint: Path, step: int) -> None:
    """Warn, by an event, where other code than this wrote the checkpoint of `step`. Call it when the checkpoint is
    loaded."""
    where = checkpoint.relative_to(context.run.path)
    then = code_of(checkpoint)
    if then is None:
        print(f"{where}: the version of nanosolo that wrote it is unknown")
    message = warning_of_other_code(str(where), then, this_code())
    if message:
        context.emit(Warning(stage=context.stage, step=step, code="code_changed", message=message))
