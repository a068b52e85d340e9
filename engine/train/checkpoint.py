"""Checkpoints: weights, optimizer state and where to go on from, written beside, flushed, renamed in."""

import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.data.loader import LoaderState
from engine.errors import NanosoloError
from engine.files import cannot_write, flush_to_disk, sync_directory, write_atomically
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.shape import Shape

FORMAT = 1
MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
_NAME = re.compile(r"step_(\d{6,})")


class TrainingState(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go on from. Training draws no random numbers of its own: the order of rows follows from seed and
    epoch, and samples have a generator seeded by the step; so this, weights and optimizer state are all there is."""

    format: int
    step: int  # steps done
    tokens: int  # trained on
    loader: LoaderState
    micro_splits: int  # into how many parts each batch is cut since memory ran out
    shape: Shape


class SavedCheckpoint(NamedTuple):
    """What writing one took."""

    path: Path
    bytes: int
    seconds: float


def first_state(shape: Shape) -> TrainingState:
    """Where training begins."""
    return TrainingState(format=FORMAT, step=0, tokens=0, loader=LoaderState(), micro_splits=1, shape=shape)


def checkpoint_path(folder: Path, step: int) -> Path:
    """The directory of the checkpoint after `step` steps."""
    return folder / f"step_{step:06d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a stage, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and (path / STATE_FILE).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a stage; None before the first."""
    found = list_checkpoints(folder)
    return found[-1] if found else None


def save_checkpoint(
    folder: Path, model: GPT, optimizer: Optimizer, state: TrainingState, keep_last: int
) -> SavedCheckpoint:
    """Write a checkpoint, then drop all but the newest `keep_last`. Raises NanosoloError; the older ones stay then."""
    began = time.monotonic()
    path = checkpoint_path(folder, state.step)
    partial = folder / f".{path.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _save_tensors(model.state_dict(), partial / MODEL_FILE)
        _save_tensors(optimizer.state_tensors(), partial / OPTIMIZER_FILE)
        write_atomically(partial / STATE_FILE, msgspec.json.encode(state))
        sync_directory(partial)
        if path.exists():  # the same step again, after a resume from an older one
            shutil.rmtree(path)
        partial.rename(path)
        sync_directory(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise cannot_write(path, error, 0) from None
    except NanosoloError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in list_checkpoints(folder)[:-keep_last]:
        shutil.rmtree(old, ignore_errors=True)  # one that cannot be removed is no reason to stop training
    size = sum(file.stat().st_size for file in path.iterdir())
    return SavedCheckpoint(path, size, time.monotonic() - began)


def read_state(path: Path) -> TrainingState:
    """The state of a checkpoint. Raises NanosoloError naming what is wrong."""
    try:
        state = msgspec.json.decode((path / STATE_FILE).read_bytes(), type=TrainingState)
    except OSError as error:
        raise NanosoloError(f"cannot read the checkpoint {path}: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise NanosoloError(
            f"the checkpoint {path} is damaged: {error}. Remove it to go on from the one before."
        ) from None
    if state.format != FORMAT:
        raise NanosoloError(f"the checkpoint {path} has format {state.format}; this version reads {FORMAT}.")
    return state


def load_weights(path: Path, model: GPT) -> None:
    """Fill the model from a checkpoint. Raises NanosoloError when the file is damaged or of another shape."""
    try:
        model.load_state_dict(load_file(path / MODEL_FILE))
    except Exception as error:  # safetensors and torch raise their own kinds; all mean that the file is unusable
        raise _damaged(path / MODEL_FILE, error) from None


def load_optimizer(path: Path, optimizer: Optimizer) -> None:
    """Fill the optimizer's state from a checkpoint. Raises NanosoloError like `load_weights`."""
    try:
        tensors = load_file(path / OPTIMIZER_FILE)
    except Exception as error:  # as above
        raise _damaged(path / OPTIMIZER_FILE, error) from None
    optimizer.load_state_tensors(tensors)


def load_model(path: Path, device: str) -> GPT:
    """The model of a checkpoint, ready to evaluate."""
    model = GPT(read_state(path).shape, device=device)
    load_weights(path, model)
    return model.eval()


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    except Exception as error:
        # safetensors wraps the system's error in one of its own, with the number in its text
        if isinstance(error, OSError):
            raise
        raise NanosoloError(
            f"cannot write {path}: {error}. Free some space, or set NANOSOLO_HOME to a folder on a larger disk."
        ) from None
    with path.open("rb") as file:
        flush_to_disk(file.fileno())


def _damaged(path: Path, error: Exception) -> NanosoloError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return NanosoloError(f"{path} is damaged: {first}. Remove its checkpoint to go on from the one before.")
