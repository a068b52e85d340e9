"""Peak memory of each phase of training on CUDA, by torch's allocator."""

from collections.abc import Callable

import torch
from torch import Tensor

from engine.config.schema import BatchConfig
from engine.model.gpt import GPT
from engine.model.memory_trace import step_through
from engine.optim.optimizer import Optimizer


def phases_of_a_step(
    model: GPT, trunk: Callable[[Tensor], Tensor], optimizer: Optimizer, batch: BatchConfig
) -> dict[str, int]:
    """The most bytes allocated in each phase of `step_through`. `trunk`: model.trunk or its compiled form."""
    phases: dict[str, int] = {}
    phase: str | None = None

    def begin(following: str | None) -> None:
        nonlocal phase
        torch.cuda.synchronize()
        if phase is not None:
            phases[phase] = max(phases.get(phase, 0), torch.cuda.max_memory_allocated())
        phase = following
        torch.cuda.reset_peak_memory_stats()

    step_through(model, trunk, optimizer, batch, begin)
    begin(None)
    return phases
