"""Checkpoints: weights, optimizer state and position, written to a temporary folder, flushed, renamed, verified."""

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoint.manifest import Damaged, measure, verify, write_manifest
from engine.checkpoint.tensor_file import write_tensors
from engine.config.schema import RunConfig, to_dict
from engine.core.atomic_io import NOT_JSON, cannot_write, sync_directory, write_atomically
from engine.core.errors import NanosoloError
from engine.data.loader import LoaderState
from engine.events import kinds
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.shape import Shape, shape_of
from engine.run.checkpoints import checkpoint_path, list_checkpoints

MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
RESERVE = 32 * 2**20  # bytes of the disk that no checkpoint takes: for events and logs
_LEFTOVER = re.compile(r"\.step_\d{6,}\.(partial|old)|step_\d{6,}\.damaged")


class TrainingState(msgspec.Struct, frozen=True, kw_only=True):
    """Where to continue. Training draws no random numbers of its own: the order of rows follows from seed and
    epoch, and samples have a generator seeded by the step; so this, weights and optimizer state are all there is."""

    step: int  # steps done
    tokens: int  # trained on
    loader: LoaderState
    micro_splits: int  # into how many parts each batch is cut since memory ran out
    losses: tuple[float, ...]  # of the last steps, for the spike rule
    shape: Shape
    settings: dict[str, dict[str, Any]]  # the configuration that led here, to report changes


class SavedCheckpoint(NamedTuple):
    """What writing one took."""

    step: int
    path: Path
    bytes: int
    seconds: float


def first_state(config: RunConfig) -> TrainingState:
    """Where training begins."""
    return TrainingState(
        step=0,
        tokens=0,
        loader=LoaderState(),
        micro_splits=1,
        losses=(),
        shape=shape_of(config),
        settings=to_dict(config),
    )


def whole_checkpoint(folder: Path, report: Callable[[int, str], None]) -> Path | None:
    """The newest checkpoint that is what was written; None before the first.

    Newer ones that are damaged are quarantined as `step_<n>.damaged`, and passed to `report`: step, and what is wrong.
    Raises NanosoloError when all are damaged: to begin again is for the user to say.
    """
    damaged: dict[int, str] = {}
    there = list_checkpoints(folder)
    for step in reversed(there):
        try:
            verify(there[step])
        except Damaged as damage:
            damaged[step] = str(damage)
            continue
        for other, what in damaged.items():
            _quarantine(there[other])
            report(other, f"{what}. Going on from the checkpoint of step {step}.")
        return there[step]
    if damaged:
        raise NanosoloError(
            f"no checkpoint in {folder} is whole: {next(iter(damaged.values()))}. Bring one back from a copy, or "
            "remove the folder to begin again."
        )
    return None


def _quarantine(path: Path) -> None:
    quarantined = path.with_name(path.name + ".damaged")
    shutil.rmtree(quarantined, ignore_errors=True)
    with suppress(OSError):  # on a disk that can only be read it stays where it is
        path.rename(quarantined)


def warning_of(stage: str, step: int, what: str) -> kinds.Warning:
    """The event that reports a damaged checkpoint."""
    return kinds.Warning(stage=stage, step=step, code="checkpoint_damaged", message=what)


def write_checkpoint(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: TrainingState, before: Callable[[], None]
) -> SavedCheckpoint:
    """Write a checkpoint of tensors by file name. Raises NanosoloError and leaves nothing of it then.

    `before` is called just before it gets its name, and may refuse by raising NanosoloError.
    """
    began = time.monotonic()
    path = checkpoint_path(folder, state.step)
    partial, old = folder / f".{path.name}.partial", folder / f".{path.name}.old"
    size = sum(tensor.nbytes for group in tensors.values() for tensor in group.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < size + RESERVE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        files = {name: write_tensors(partial / name, group) for name, group in tensors.items()}
        write_atomically(partial / STATE_FILE, msgspec.json.encode(state))
        files[STATE_FILE] = measure(partial / STATE_FILE)
        write_manifest(partial, files)
        sync_directory(partial)
        before()
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():  # the same step again, after a resume from an older one
            path.rename(old)
        partial.rename(path)
        sync_directory(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise cannot_write(path, error, size) from None
    except NanosoloError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    remove_leftovers(folder)
    return SavedCheckpoint(state.step, path, sum(entry.bytes for entry in files.values()), time.monotonic() - began)


def remove_leftovers(folder: Path) -> None:
    """Remove what interrupted writes left, and damaged checkpoints that a newer one has replaced."""
    if folder.is_dir():
        for path in folder.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)


def read_state(path: Path) -> TrainingState:
    """The state of a verified checkpoint. Raises NanosoloError naming what is wrong."""
    try:
        return msgspec.json.decode((path / STATE_FILE).read_bytes(), type=TrainingState)
    except OSError as error:
        raise NanosoloError(f"cannot read the checkpoint {path}: {error.strerror}.") from None
    except NOT_JSON as error:
        raise NanosoloError(f"the checkpoint {path} is of another version: {error}.") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a verified checkpoint, on the CPU, as they lay in memory. Raises NanosoloError."""
    try:
        return load_file(path / MODEL_FILE)
    except Exception as error:  # safetensors raises its own kinds; all mean that the file is unusable
        raise _unusable(path / MODEL_FILE, error) from None


def load_weights(path: Path, model: GPT) -> None:
    """Fill the model from a verified checkpoint. Raises NanosoloError when it is of another shape."""
    weights = read_weights(path)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise _unusable(path / MODEL_FILE, error) from None


def load_optimizer(path: Path, optimizer: Optimizer) -> None:
    """Fill the optimizer's state from a verified checkpoint. Raises NanosoloError like `load_weights`."""
    try:
        tensors = load_file(path / OPTIMIZER_FILE)
    except Exception as error:  # as above
        raise _unusable(path / OPTIMIZER_FILE, error) from None
    optimizer.load_state_tensors(tensors)


def load_model(path: Path, device: str) -> GPT:
    """The model of a verified checkpoint, ready to evaluate."""
    model = GPT(read_state(path).shape, device=device)
    load_weights(path, model)
    return model.eval()


def _unusable(path: Path, error: Exception) -> NanosoloError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return NanosoloError(f"{path} cannot be used: {first}. Delete its checkpoint to continue from the one before.")
