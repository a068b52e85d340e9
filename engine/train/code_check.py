"""A warning where a stage loads a checkpoint that other code of nanosolo wrote."""

from functools import cache
from pathlib import Path

from engine.run.events import Warning
from engine.run.stage import StageContext
from engine.run.versions import this_code, warning_of_other_code
from engine.train.manifest import code_of


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
