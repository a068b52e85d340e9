"""Loaded at the start of each Python process on the null GPU: replaces what needs real numbers, and records counters.

A shim is a change to one module of the engine, made when that module is imported. There is one that a run needs to get
through (`judge_in_turns`) and one that only watches (`keep_account`). Everything else runs as it is.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def judge_in_turns(module: ModuleType) -> None:
    """Reinforcement learning needs some right answers. A model without numbers never writes one, so
    answers are right and wrong in turn."""
    turn = itertools.cycle((True, False))
    module.is_right = lambda *_: next(turn)  # type: ignore[attr-defined]


def keep_account(module: ModuleType) -> None:
    """After each event of a run, append the device's counters to $NULLGPU_ACCOUNT."""
    path = os.environ.get("NULLGPU_ACCOUNT")
    if not path:
        return
    write = module.EventLog.write

    def write_and_note(self: Any, event: Any) -> None:
        write(self, event)
        if "torch" in sys.modules:  # the runner and some stages do not use it
            import counters

            entry = {
                "pid": os.getpid(),
                "stage": getattr(event, "stage", ""),
                "kind": type(event).__name__,
                "step": getattr(event, "step", 0),
                **counters.read(),
            }
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    module.EventLog.write = write_and_note  # type: ignore[attr-defined]


# module -> (the change, the attribute that it needs)
SHIMS: dict[str, tuple[Callable[[ModuleType], None], str]] = {
    "engine.evaluate.chat.answers": (judge_in_turns, "is_right"),
    "engine.events.log": (keep_account, "EventLog"),
}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds a module normally, and changes it when it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in SHIMS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        load, (change, attribute) = spec.loader.exec_module, SHIMS[name]

        def load_and_change(module: ModuleType) -> None:
            load(module)
            if not hasattr(module, attribute):
                raise ImportError(f"{name} has no {attribute} any more: change bench/nullgpu/shim/sitecustomize.py")
            change(module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


if os.environ.get("NULLGPU_SHIM", "1") != "0":
    sys.meta_path.insert(0, _Finder())
