"""The weights that a stage starts from: those of the last training stage before it."""

from pathlib import Path

from engine.checkpoint.checkpoint import warning_of, whole_checkpoint
from engine.config.stages import MODEL_STAGES
from engine.core.errors import NanosoloError
from engine.run.stage_context import StageContext
from engine.run.stage_status import read_stage_status


def no_weights(context: StageContext, purpose: str) -> NanosoloError:
    """The error of a stage that finds no checkpoint; `purpose`: what it wanted one for, after `to`."""
    name = context.run.name
    return NanosoloError(
        f"run {name} has no checkpoint to {purpose}. Run pretrain first: "
        f"nanosolo resume {name} --stages pretrain,{context.stage}"
    )


def last_weights(context: StageContext, before: str | None = None) -> Path | None:
    """The newest valid checkpoint of the run's last training stage, of those before `before` where it is given."""
    stages = MODEL_STAGES if before is None else MODEL_STAGES[: MODEL_STAGES.index(before)]
    pipeline = context.config.pipeline.stages
    belonging = read_stage_status(context.run, pipeline).all_stages(pipeline)
    for stage in reversed(stages):
        # a stage that is no longer part of the pipeline may have left checkpoints: they are not of this line
        if stage in belonging:
            newest = whole_checkpoint(
                context.run.checkpoints(stage), lambda step, what: context.emit(warning_of(context.stage, step, what))
            )
            if newest is not None:
                return newest
    return None
