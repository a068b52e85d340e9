"""Where a training stage begins: from its newest whole checkpoint, or from the start."""

import msgspec
import torch

from engine.errors import NanosoloError
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.shape import Shape
from engine.run import events
from engine.run.history import read_history
from engine.run.stage import StageContext
from engine.train.checkpoint import (
    TrainingState,
    first_state,
    load_optimizer,
    load_weights,
    read_state,
    warning_of,
    whole_checkpoint,
)
from engine.train.rewind import position_after, read_rewinds


def restore(context: StageContext, model: GPT, optimizer: Optimizer, shape: Shape) -> TrainingState:
    """Fill model and optimizer, and return where to go on. Steps beyond it are declared void by an event.

    Raises NanosoloError when the checkpoints are damaged, all of them, or of another model.
    """
    stage, folder = context.stage, context.run.checkpoints(context.stage)
    newest = whole_checkpoint(folder, lambda step, what: context.emit(warning_of(stage, step, what)))
    if newest is None:
        model.init_weights(context.config.runtime.seed)
        optimizer.load_state_tensors({name: torch.zeros_like(t) for name, t in optimizer.state_tensors().items()})
        state = first_state(shape)
    else:
        state = read_state(newest)
        if state.shape != shape:
            raise NanosoloError(f"the checkpoint {newest} is of another model. Resume with its own run.toml.")
        load_weights(newest, model)
        load_optimizer(newest, optimizer)
    if newest is not None or len(read_history(context.run.events_file).columns(stage)):
        context.emit(events.Resumed(stage=stage, step=state.step, path=str(newest or "")))
    return msgspec.structs.replace(state, loader=position_after(read_rewinds(folder), state.step, state.loader))
