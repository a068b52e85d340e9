"""Advice on speed, memory and disk: a slow run, data wait, spare memory, throttling, a shared GPU, a full disk."""

import math
from collections.abc import Iterator

from engine.config.layers import with_changes
from engine.config.schema import RunConfig
from engine.core import formatting
from engine.core.diagnostic import Changes, Diagnostic
from engine.core.units import GIB
from engine.diagnostics.oom import post_mortem
from engine.diagnostics.situation import Situation, gpu_of
from engine.events.attempts import of_last_pass, seconds_at_work
from engine.events.history import History
from engine.hardware.gpu_catalog import Gpu
from engine.plan import memory
from engine.plan.batch import tokens_per_step
from engine.plan.duration import tokens_per_second
from engine.plan.memory import SAFE_HEADROOM
from engine.plan.shape import shape_of
from engine.run.metrics import data_wait, measured_peak, pace
from engine.run.status import remaining_seconds

DATA_WAIT = 0.05  # share of a step spent waiting for data
FAR_BELOW = 0.75  # share of the planned speed below which a run is slow, however wide the plan's range
WORTHWHILE = 0.03  # predicted speed-up from which a larger device batch is worth a restart
RECENT_READINGS = 12  # of the machine, one per 5 s: the last minute
DISK_TREND_READINGS = 720  # the last hour
LEAST_FREE_DISK = GIB  # bytes to keep free for logs, reports and the system


def slow(s: Situation) -> Iterator[Diagnostic]:
    measured, time = pace(s.columns), s.plan.time
    if not s.working or measured is None or not time.tokens_per_second or not time.hours or not time.high_hours:
        return
    share = measured / time.tokens_per_second
    slow_end = time.hours / time.high_hours  # of the plan's range, which is wide for devices that were not measured
    if share >= max(slow_end, FAR_BELOW):
        return
    planned = formatting.count(time.tokens_per_second)
    device = next(reversed(s.history.devices.values()), None)
    change: Changes | None = None
    fix = "look for throttling, data wait or another process on the GPU; nanosolo doctor checks the card"
    at_this_speed, expected = (formatting.duration(3600 * hours) for hours in (time.hours / share, time.hours))
    effect = f"at this speed {at_this_speed}, planned {expected}"
    if device is not None and s.plan.compiled and not device.compiled:
        change, fix = {"runtime.compile": "on"}, "the plan assumes torch.compile, which is off in this run: turn it on"
        effect = "about twice the speed"
    yield Diagnostic(
        "slow",
        f"{formatting.count(measured)} tokens/s, {formatting.percent(share)} of the {planned} planned",
        fix,
        severity="warning" if share < slow_end else "note",
        change=change,
        effect=effect,
    )


def late(s: Situation) -> Iterator[Diagnostic]:
    """Pretraining took longer than the plan's range; the stage may be running still or a later one."""
    most = s.plan.time.high_hours
    own = of_last_pass(s.history.attempts, "pretrain")
    taken = seconds_at_work(own, s.history.last_time)
    if not s.working or not most or taken <= 3600 * most:
        return
    trains = s.history.current == "pretrain"
    if trains and any(slow(s)):
        return  # `slow` covers it, with the reason
    usual = formatting.duration(3600 * s.plan.time.hours) if s.plan.time.hours else "?"
    yield Diagnostic(
        "late",
        f"pretraining {'has taken' if trains else 'took'} {formatting.duration(taken)}; planned: {usual}, "
        f"at most {formatting.duration(3600 * most)}",
        "look for throttling, data wait or other programs on this machine; nanosolo doctor checks it",
        severity="warning" if trains else "note",
        effect="the next plan for this device uses the speed that was measured here",
    )


def waits_for_data(s: Situation) -> Iterator[Diagnostic]:
    share = data_wait(s.columns)
    if s.working and share is not None and share > DATA_WAIT:
        yield Diagnostic(
            "data_wait",
            f"{formatting.percent(share)} of each step waits for data",
            "keep the token files on a local disk, and run nothing else on the processor",
            effect=f"up to {formatting.percent(share / (1 - share) if share < 1 else 1.0)} faster",
        )


def headroom(s: Situation) -> Iterator[Diagnostic]:
    gpu = gpu_of(s.plan)
    measured = measured_peak(s.history, s.plan)
    if not gpu.is_cuda or measured is None or gpu.peak_flops <= 0 or s.history.out_of_memory:
        return
    seen = s.history.machine.recent("gpu_used", RECENT_READINGS)
    used = max([measured, *(int(value * GIB) for value in seen)])  # memory of other processes is not available either
    offer = larger_batch(s.config, gpu, s.plan.compiled, used / s.plan.memory.total)
    if offer is None:
        return
    change, peak, gain = offer
    left = remaining_seconds(s.history)
    saved = f"; saves {formatting.duration(left * gain / (1 + gain))} of the time left" if left and s.working else ""
    yield Diagnostic(
        "headroom",
        f"{formatting.part_of(used, gpu.capacity)} are used at the peak",
        f"device_batch_size {change['batch.device_batch_size']} fits",
        severity="note",
        change=change,
        effect=f"{formatting.percent(gain)} faster at {formatting.size(peak)}{saved}",
    )


def larger_batch(config: RunConfig, gpu: Gpu, compiled: bool, scale: float) -> tuple[Changes, int, float] | None:
    """(change, peak in bytes, gain in speed) of the largest device batch that fits without changing the step.

    `scale`: measured over predicted peak. None where nothing larger fits or the gain is too small.
    """
    per_step, best = tokens_per_step(config), None
    size = config.batch.device_batch_size * 2
    while per_step % (size * config.model.max_seq_len) == 0 and size <= 4096:
        change: Changes = {"batch.device_batch_size": size, "batch.total_batch_size": per_step}
        changed = with_changes(config, change)
        peak = int(scale * memory.estimate(shape_of(changed), changed.batch, gpu, compiled).total)
        if peak > gpu.capacity * (1 - SAFE_HEADROOM):
            break
        gain = tokens_per_second(changed, gpu, compiled) / tokens_per_second(config, gpu, compiled) - 1
        best = (change, peak, gain) if gain >= WORTHWHILE else best
        size *= 2
    return best


def memory_ran_out(s: Situation) -> Iterator[Diagnostic]:
    """Memory ran out and the stage continues with smaller pieces: the settings that avoid that."""
    if not s.working or not s.history.out_of_memory:
        return
    last = s.history.out_of_memory[-1]
    begun = s.history.stages.get(last.stage)
    if begun is None or last.t < begun.started:
        return  # the stage was started again since
    found = post_mortem(s.history, s.plan, s.config)
    ways = [way for way in found.ways if way.fits and not way.changes_model]
    yield Diagnostic(
        "out_of_memory",
        f"out of memory at step {last.step:,} in {last.phase}: {last.action}",
        f"next time: {ways[0].message}" if ways else "next time use a smaller batch.device_batch_size",
        change=ways[0].change if ways else None,
        effect="no step runs twice",
    )


def throttled(s: Situation) -> Iterator[Diagnostic]:
    machine = s.history.machine
    recent = machine.throttled[-RECENT_READINGS:]
    if not s.working or not machine.throttle or sum(recent) * 2 < len(recent):
        return
    reasons = ", ".join(machine.throttle)
    clocks, temperatures = machine["clock"], machine.recent("temperature", RECENT_READINGS)
    best = max((clock for clock in clocks if not math.isnan(clock)), default=0.0)
    now = machine.recent("clock", RECENT_READINGS)
    clock = f" at {now[-1]:.0f} of {best:.0f} MHz" if now else ""
    heat = f", {temperatures[-1]:.0f} °C" if temperatures else ""
    hot = any("thermal" in reason or "slowdown" in reason for reason in machine.throttle)
    lost = 1 - now[-1] / best if now and best > 0 else 0.0
    gain = f"up to {formatting.percent(lost / (1 - lost))} faster" if 0.01 < lost < 1 else ""
    yield Diagnostic(
        "throttled",
        f"the GPU is throttled by {reasons}{clock}{heat}",
        "improve its cooling" if hot else "raise its power limit if you are allowed to (nvidia-smi -pl)",
        severity="warning" if hot or lost > 0.15 else "note",
        effect=gain or "little gain: the clock is near its maximum",
    )


def shared_gpu(s: Situation) -> Iterator[Diagnostic]:
    readings = s.history.machine.recent("processes", RECENT_READINGS)
    if not s.working or not readings or readings[-1] <= 1:
        return
    used = s.history.machine.recent("gpu_used", 1)
    own = measured_peak(s.history, s.plan)
    theirs = GIB * used[-1] - own if used and own is not None else 0.0
    holding = f", using about {formatting.size(theirs)}" if theirs > 0.5 * GIB else ""
    others = int(readings[-1]) - 1
    yield Diagnostic(
        "shared_gpu",
        f"{others} other process{'es are' if others > 1 else ' is'} on this GPU{holding}",
        "end the processes you do not need (nvidia-smi lists them)",
        effect="this run gets their memory and time",
    )


def disk(s: Situation) -> Iterator[Diagnostic]:
    readings = s.history.machine.recent("disk_free", 1)  # GiB
    if not s.working or not readings:
        return
    free = GIB * readings[-1]
    kept = min(len({c.path for c in s.history.checkpoints}), s.config.checkpoint.keep_last)
    need = (s.config.checkpoint.keep_last + 1 - kept) * s.plan.checkpoint_bytes
    falling = disk_trend(s.history)
    left = remaining_seconds(s.history)
    fewer = s.config.checkpoint.keep_last - 1
    saves = fewer * s.plan.checkpoint_bytes
    change: Changes | None = {"checkpoint.keep_last": 1} if fewer > 0 else None
    less = f"keeping one checkpoint needs {formatting.size(saves)} less"
    effect = less if fewer > 0 else "the run can save its checkpoints"
    if free < need + LEAST_FREE_DISK:
        yield Diagnostic(
            "disk",
            f"{formatting.size(free)} of disk are free; the run still writes {formatting.size(need)} of checkpoints",
            "free some space" + (", or keep fewer checkpoints" if fewer > 0 else ""),
            severity="error",
            change=change,
            effect=effect,
        )
    elif falling is not None and left is not None and falling * left > free - LEAST_FREE_DISK:
        yield Diagnostic(
            "disk",
            f"{formatting.size(free)} of disk are free, {formatting.size(falling * 3600)} less per hour: "
            f"full in {formatting.duration(free / falling)}, the run needs {formatting.duration(left)}",
            "find what fills the disk, or free some space",
            change=change,
            effect=effect,
        )


def disk_trend(history: History) -> float | None:
    """Free space lost over the last hour of readings, bytes/s; None where it did not fall, or readings are too few."""
    machine = history.machine
    times, free = machine.time[-DISK_TREND_READINGS:], machine["disk_free"][-DISK_TREND_READINGS:]
    if len(times) < RECENT_READINGS or times[-1] - times[0] < 60:
        return None
    fallen = GIB * (free[0] - free[-1]) / (times[-1] - times[0])
    return fallen if fallen > 0 else None  # NaN compares false
