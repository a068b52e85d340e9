"""Where a training stage starts: from its newest valid checkpoint, or from the beginning."""

from collections.abc import Callable
from typing import Any

import msgspec
import torch

from engine.checkpoint.checkpoint import (
    TrainingState,
    first_state,
    load_optimizer,
    load_weights,
    read_state,
    warning_of,
    whole_checkpoint,
)
from engine.config.schema import to_dict
from engine.core.errors import NanosoloError
from engine.events import kinds
from engine.events.history import read_history
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.shape import shape_of
from engine.run.stage_context import StageContext
from engine.train.code_check import check_code
from engine.train.rewind import position_after, read_rewinds


def restore(context: StageContext, model: GPT, optimizer: Optimizer, begin: Callable[[GPT], None]) -> TrainingState:
    """Fill model and optimizer, and return where to continue. An event declares later steps void.

    `begin` fills the model where there is no checkpoint. Raises NanosoloError when the checkpoints are damaged, all of
    them, or of another model.
    """
    stage, folder = context.stage, context.run.checkpoints(context.stage)
    newest = whole_checkpoint(folder, lambda step, what: context.emit(warning_of(stage, step, what)))
    if newest is None:
        begin(model)
        optimizer.load_state_tensors({name: torch.zeros_like(t) for name, t in optimizer.state_tensors().items()})
        state = first_state(context.config)
    else:
        state = read_state(newest)
        if state.shape != shape_of(context.config):
            raise NanosoloError(
                f"the checkpoint {newest} is of another model. Resume it with the run.toml of its own run."
            )
        load_weights(newest, model)
        load_optimizer(newest, optimizer)
        _warn_of_changes(context, state)
        check_code(context, newest, state.step)
    if newest is not None or len(read_history(context.run.events_file).columns(stage)):
        context.emit(kinds.Resumed(stage=stage, step=state.step, path=str(newest or "")))
    return msgspec.structs.replace(
        state,
        loader=position_after(read_rewinds(folder), state.step, state.loader),
        settings=to_dict(context.config),
    )


def _warn_of_changes(context: StageContext, state: TrainingState) -> None:
    """Warn where the configuration differs from that of the checkpoint: it may be intended, but must be visible."""
    before, now = _flat(state.settings), _flat(msgspec.json.decode(msgspec.json.encode(to_dict(context.config))))
    changed = [path for path in sorted(before | now) if before.get(path) != now.get(path)]
    if changed:
        words = ", ".join(f"{path} {before.get(path)} -> {now.get(path)}" for path in changed)
        message = f"the configuration differs from that of the checkpoint: {words}"
        context.emit(kinds.Warning(stage=context.stage, step=state.step, code="config_changed", message=message))


def _flat(settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, table in settings.items() for key, value in table.items()}
