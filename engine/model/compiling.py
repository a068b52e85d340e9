"""Compiles parts of the model separately for each input size that occurs in a run."""

from collections.abc import Callable
from typing import TypeVar

import torch

# Sizes that one part is compiled for. Beyond torch's default of 8 it would run uncompiled, with far more memory, and
# only a log would say so. A batch of an odd size that is halved again and again when memory runs out has more.
MOST_SIZES = 64

Function = TypeVar("Function", bound=Callable[..., object])


def compile_for_each_size(function: Function, backend: str = "inductor") -> Function:
    """`function`, compiled for each size of its arguments."""
    made: Function = torch.compile(  # type: ignore[call-overload]
        function, dynamic=False, recompile_limit=MOST_SIZES, backend=backend
    )
    return made
