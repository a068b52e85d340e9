"""Who can talk: the checkpoints of all runs, the one to begin with, and what it would share its device with."""

import time
from contextlib import suppress
from typing import NamedTuple

from engine.checkpoint.selection import Chosen, chat_checkpoints
from engine.core.errors import NanosoloError
from engine.hardware.detect import detect_gpu
from engine.run.directory import RunDirectory, list_runs


class ChatModel(NamedTuple):
    """A checkpoint of a run that can be talked to."""

    run: RunDirectory
    checkpoint: Chosen

    @property
    def label(self) -> str:
        """Run, stage and step."""
        return f"{self.run.name}, {self.checkpoint.stage} step {self.checkpoint.step:,}"

    @property
    def age(self) -> float:
        """Seconds since it was written; 0 where it is gone."""
        with suppress(OSError):
            return max(0.0, time.time() - self.checkpoint.path.stat().st_mtime)
        return 0.0


class Scene(NamedTuple):
    """What there is on this machine, as far as talking goes."""

    runs: int
    models: tuple[ChatModel, ...]  # newest run first, each run's best checkpoint first
    gpu: bool
    training: tuple[str, ...]  # names of the runs that are at work on the GPU, or on the CPU where there is none

    def best_of(self, run: RunDirectory | None) -> ChatModel | None:
        """The best checkpoint of this run; None where it has none."""
        return next((t for t in self.models if run is not None and t.run.path == run.path), None)

    def begin_with(self, wanted: RunDirectory | None, before: ChatModel | None) -> tuple[ChatModel, str]:
        """Who talks: the run that is wanted, else who talked before, else the newest; and what is to be said of it."""
        own = self.best_of(wanted)
        model = own or before or self.models[0]
        lacking = wanted is not None and own is None
        return model, f"{wanted.name} has no checkpoint yet, so {model.run.name} talks." if lacking and wanted else ""

    def now(self, model: ChatModel) -> ChatModel | None:
        """The newest checkpoint of the same stage of the same run; None where there is none any more."""
        wanted = (model.run.path, model.checkpoint.stage)
        return next((t for t in self.models if (t.run.path, t.checkpoint.stage) == wanted), None)

    @property
    def device(self) -> str:
        """Where to load a model when nobody says: never onto a GPU that trains, whose memory the run may need."""
        return "auto" if self.gpu and not self.training else "cpu"


def look() -> Scene:
    """Look at the disk and the devices. Takes a while: to be called from a thread. Raises NanosoloError."""
    runs = list_runs()
    models = []
    for run in reversed(runs):
        with suppress(OSError):  # removed while we look
            models += [ChatModel(run, chosen) for chosen in chat_checkpoints(run)]
    gpu = detect_gpu() is not None
    training = tuple(run.name for run in runs if run.is_running() and (not gpu or _uses_gpu(run)))
    return Scene(len(runs), tuple(models), gpu, training)


def _uses_gpu(run: RunDirectory) -> bool:
    try:
        return run.config().runtime.device != "cpu"
    except NanosoloError:
        return True  # better to keep away from it
