"""The models to chat with: the checkpoints of all runs, the default one, and what else uses the device."""

import time
from contextlib import suppress
from typing import NamedTuple

from engine.checkpoint.selection import Chosen, chat_checkpoints
from engine.core.errors import NanosoloError
from engine.hardware.detect import detect_gpu
from engine.run.directory import RunDirectory, list_runs


class ChatModel(NamedTuple):
    """A checkpoint of a run to chat with."""

    run: RunDirectory
    checkpoint: Chosen

    @property
    def label(self) -> str:
        """Run, stage and step."""
        return f"{self.run.name}, {self.checkpoint.stage} step {self.checkpoint.step:,}"

    @property
    def age(self) -> float:
        """Seconds since it was written; 0 if it no longer exists."""
        with suppress(OSError):
            return max(0.0, time.time() - self.checkpoint.path.stat().st_mtime)
        return 0.0


class Scene(NamedTuple):
    """The runs, models and devices of this machine."""

    runs: int
    models: tuple[ChatModel, ...]  # newest run first, each run's best checkpoint first
    gpu: bool
    training: tuple[str, ...]  # names of the runs that use the GPU, or the CPU of a machine without one

    def best_of(self, run: RunDirectory | None) -> ChatModel | None:
        """The best checkpoint of this run, or None if it has none."""
        return next((t for t in self.models if run is not None and t.run.path == run.path), None)

    def begin_with(self, wanted: RunDirectory | None, before: ChatModel | None) -> tuple[ChatModel, str]:
        """The model of the wanted run, else the one before, else the newest; and a note about the choice, if any."""
        own = self.best_of(wanted)
        model = own or before or self.models[0]
        lacking = wanted is not None and own is None
        return model, f"{wanted.name} has no checkpoint yet. Using {model.run.name}." if lacking and wanted else ""

    def now(self, model: ChatModel) -> ChatModel | None:
        """The newest checkpoint of the same run and stage, or None if none is left."""
        wanted = (model.run.path, model.checkpoint.stage)
        return next((t for t in self.models if (t.run.path, t.checkpoint.stage) == wanted), None)

    @property
    def device(self) -> str:
        """The default device: never a GPU with a training run, which may need its memory."""
        return "auto" if self.gpu and not self.training else "cpu"


def look() -> Scene:
    """Read the runs on disk and detect devices. Slow, so call it from a thread. Raises NanosoloError."""
    runs = list_runs()
    models = []
    for run in reversed(runs):
        with suppress(OSError):  # removed in the meantime
            models += [ChatModel(run, chosen) for chosen in chat_checkpoints(run)]
    gpu = detect_gpu() is not None
    training = tuple(run.name for run in runs if run.is_running() and (not gpu or _uses_gpu(run)))
    return Scene(len(runs), tuple(models), gpu, training)


def _uses_gpu(run: RunDirectory) -> bool:
    try:
        return run.config().runtime.device != "cpu"
    except NanosoloError:
        return True  # unknown, so assume that it does
