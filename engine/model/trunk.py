"""The type of a model's trunk, plain or compiled."""

from collections.abc import Callable

from torch import Tensor

Trunk = Callable[[Tensor], Tensor]
