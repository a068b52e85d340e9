"""A fake torch that behaves on a GPU as the variables say. STAND_IN_TORCH is the message of its failure."""

import os
from pathlib import Path
from types import SimpleNamespace

__version__ = "2.13.0+cu130"
version = SimpleNamespace(cuda=os.environ.get("STAND_IN_CUDA", "13.0") or None)
_C = SimpleNamespace(_accelerator_setAllocatorSettings=lambda _settings: None)
cuda = SimpleNamespace(get_arch_list=lambda: ["sm_75", "sm_80"], synchronize=lambda: None)

if path := os.environ.get("STAND_IN_COUNT"):
    with Path(path).open("a") as file:
        file.write("1")
if message := os.environ.get("STAND_IN_IMPORT"):
    raise ImportError(message)


def ones(_count: int, device: str) -> None:
    if message := os.environ.get("STAND_IN_KERNEL"):
        raise RuntimeError(message)


def zeros(_count: int, device: str) -> None:
    if device == "cuda" and (message := os.environ.get("STAND_IN_TORCH")):
        raise RuntimeError(message)
