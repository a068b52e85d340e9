"""What a run measured of its device, kept for the plans of later runs here."""

import math
import time
from pathlib import Path

from engine.events.history import read_history
from engine.hardware.detect import detect_cpu, detect_gpu
from engine.hardware.gpu_catalog import Gpu
from engine.plan.calibration import Measured, key_of
from engine.run.calibration_store import public, record
from engine.run.directory import RunDirectory
from engine.run.metrics import measured_peak, pace

STAGE = "pretrain"


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
    gpu = detect_gpu() if device.device == "cuda" else detect_cpu(device.threads or run.config().runtime.threads)
    # a batch that was cut up since memory ran out is not the one that was planned
    speed = pace(columns) if not history.out_of_memory else None
    peak = measured_peak(history, plan) if not history.out_of_memory else None
    if gpu is None or speed is None or not math.isfinite(speed):
        return None
    ended = {stage.stage: stage.ended for stage in history.stages.values() if stage.ended is not None}
    batch = run.config().batch
    return gpu, Measured(
        device=key_of(gpu),
        torch=public(device.torch),
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
