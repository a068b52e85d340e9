"""The line of stages that train, each of which goes on from the weights of one before it."""

from pathlib import Path

from engine.run.stage import StageContext
from engine.train.checkpoint import warning_of, whole_checkpoint

LINE = ("pretrain", "midtrain", "sft", "rl")


def last_weights(context: StageContext, before: str | None = None) -> Path | None:
    """The newest whole checkpoint of the run's last stage that trained, of those that come before `before`."""
    stages = LINE if before is None else LINE[: LINE.index(before)]
    for stage in reversed(stages):
        # a stage that is no longer part of the pipeline may have left checkpoints: they are not of this line
        if stage in context.config.pipeline.stages:
            newest = whole_checkpoint(
                context.run.checkpoints(stage), lambda step, what: context.emit(warning_of(context.stage, step, what))
            )
            if newest is not None:
                return newest
    return None
