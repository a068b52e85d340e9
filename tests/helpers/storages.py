"""Measure the memory of tensors while code runs: a dispatch mode that tracks every storage created in it."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class StorageTracker(TorchDispatchMode):
    """`current`: bytes of live storages created in this mode; `peak`: the most so far; `largest`: the largest one."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.largest = self.current = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if torch.is_tensor(leaf) and leaf.untyped_storage()._cdata not in before | self._alive:
                self._born(leaf.untyped_storage())
        self.peak = max(self.peak, self.current)
        return out

    def _born(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._alive.add(key)
        self.current += size
        self.largest = max(self.largest, size)
        weakref.finalize(storage, self._died, key, size)

    def _died(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.current -= size
