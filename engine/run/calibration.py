"""Measurements on disk: every run leaves what it reached under $NANOSOLO_HOME/calibration, later plans here read it."""

import math
import re
import time
from importlib import metadata
from pathlib import Path

import msgspec

from engine.errors import NanosoloError
from engine.files import NOT_JSON, write_atomically
from engine.plan.calibration import Calibration, Measured, key_of
from engine.plan.gpus import Gpu
from engine.run.directory import RunDirectory
from engine.run.finding import measured_peak, pace
from engine.run.hardware import detect_cpu, detect_gpu
from engine.run.history import read_history
from engine.run.home import home

STAGE = "pretrain"
LARGEST_FILE = 100_000  # bytes; ours have a few hundred
NEWEST = 200  # measurements looked at


def calibration_home() -> Path:
    """The folder of all measurements."""
    return home() / "calibration"


def read_calibration(gpu: Gpu, torch_version: str | None = None) -> Calibration:
    """What was measured on this device with the torch installed here. Damaged files are passed over."""
    folder = _folder(gpu, torch_version or installed_torch())
    found = []
    for path in sorted(folder.glob("*.json"))[-NEWEST:]:
        try:
            if path.stat().st_size <= LARGEST_FILE:
                found.append(msgspec.json.decode(path.read_bytes(), type=Measured))
        except (OSError, *NOT_JSON):
            continue
    return Calibration(measured=tuple(found))


def record(gpu: Gpu, measured: Measured) -> Path:
    """Keep a measurement; one of the same source replaces the older. Raises NanosoloError when it cannot be written."""
    folder = _folder(gpu, measured.torch)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise NanosoloError(f"cannot write to {folder}: {error.strerror}. Free it, or set NANOSOLO_HOME.") from None
    path = folder / f"{_slug(measured.source)}.json"
    write_atomically(path, msgspec.json.encode(measured))
    return path


def record_run(run: RunDirectory) -> Path | None:
    """Keep what a run reached; None where it did not get far enough to say. Raises NanosoloError."""
    measured = measure_run(run)
    if measured is None:
        return None
    gpu, values = measured
    return record(gpu, values)


def measure_run(run: RunDirectory) -> tuple[Gpu, Measured] | None:
    """(device, measurement) of a run on this machine; None where its training did not come to a steady speed."""
    history, plan = read_history(run.events_file), run.plan()
    device, columns = history.devices.get(STAGE), history.columns(STAGE)
    if plan is None or device is None:
        return None
    gpu = detect_gpu() if device.device == "cuda" else detect_cpu(run.config().runtime.threads)
    # a batch that was cut up since memory ran out is not the one that was planned
    speed = pace(columns) if not history.out_of_memory else None
    peak = measured_peak(history, plan) if not history.out_of_memory else None
    if gpu is None or speed is None or not math.isfinite(speed):
        return None
    ended = {stage.stage: stage.ended for stage in history.stages.values() if stage.ended is not None}
    batch = run.config().batch
    return gpu, Measured(
        device=key_of(gpu),
        torch=_public(device.torch),
        depth=plan.depth,
        vocab_size=plan.vocab_size,
        max_seq_len=plan.max_seq_len,
        device_batch_size=plan.device_batch_size,
        total_batch_size=plan.total_batch_size,
        activation_checkpointing=plan.activation_checkpointing,
        loss=batch.loss,
        loss_chunk_tokens=batch.loss_chunk_tokens,
        compiled=device.compiled,
        tokens_per_second=speed,
        peak_memory=peak,
        phase_peaks={name: end.peak_memory for name, end in ended.items() if end.peak_memory is not None},
        stage_seconds={name: end.seconds for name, end in ended.items()},
        predicted={
            "tokens_per_second": plan.time.tokens_per_second,
            "hours": plan.time.hours,
            "peak_memory": plan.memory.total,
        },
        source=run.name,
        t=time.time(),
    )


def installed_torch() -> str:
    """The version of torch, without importing it; empty where there is none."""
    try:
        return _public(metadata.version("torch"))
    except metadata.PackageNotFoundError:
        return ""


def _public(version: str) -> str:
    return version.partition("+")[0]


def _folder(gpu: Gpu, torch_version: str) -> Path:
    return calibration_home() / _slug(key_of(gpu)) / _slug(f"torch {torch_version}")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"
