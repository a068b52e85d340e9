"""Advice on speed, memory and disk: a slow run, data wait, VRAM to spare, throttling, a shared GPU, a filling disk."""

import math
from collections.abc import Iterator

from engine.config.layers import with_changes
from engine.config.schema import RunConfig
from engine.core import formatting
from engine.core.units import GIB
from engine.diagnostics.finding import Finding, Situation, gpu_of
from engine.diagnostics.oom import post_mortem
from engine.events.attempts import of_last_pass, seconds_at_work
from engine.events.history import History
from engine.hardware.gpu_catalog import Gpu
from engine.plan import memory
from engine.plan.advice import Changes
from engine.plan.batch import tokens_per_step
from engine.plan.duration import tokens_per_second
from engine.plan.memory import SAFE_HEADROOM
from engine.plan.shape import shape_of
from engine.run.metrics import data_wait, measured_peak, pace
from engine.run.status import remaining_seconds

DATA_WAIT = 0.05  # share of a step spent waiting for data
FAR_BELOW = 0.75  # share of the planned speed below which a run is worth a word, however wide the plan's range
WORTHWHILE = 0.03  # predicted speed-up from which a larger device batch is worth a restart
RECENT_READINGS = 12  # of the machine, one every 5 s: the last minute
DISK_TREND_READINGS = 720  # the last hour
DISK_RESERVE = 1.0  # GiB that should be left over: logs, reports, the system itself


def slow(s: Situation) -> Iterator[Finding]:
    measured, time = pace(s.columns), s.plan.time
    if not s.working or measured is None or not time.tokens_per_second or not time.hours or not time.high_hours:
        return
    share = measured / time.tokens_per_second
    slow_end = time.hours / time.high_hours  # of the plan's own range, which is wide on devices it knows little of
    if share >= max(slow_end, FAR_BELOW):
        return
    planned = formatting.count(time.tokens_per_second)
    device = next(reversed(s.history.devices.values()), None)
    change: Changes = {}
    fix = "look for throttling, data wait or another process on the GPU; nanosolo doctor measures the card"
    effect = f"{time.hours / share:.1f} h instead of the planned {time.hours:.1f} h as it is"
    if device is not None and s.plan.compiled and not device.compiled:
        change, fix = {"runtime.compile": "on"}, "the plan counts on torch.compile, this run goes without: turn it on"
        effect = "about twice the speed"
    yield Finding(
        "slow",
        "warn" if share < slow_end else "hint",
        f"{formatting.count(measured)} tokens/s, {formatting.percent(share)} of the {planned} planned",
        fix,
        change,
        effect,
    )


def late(s: Situation) -> Iterator[Finding]:
    """Pretraining has taken longer than the plan's range, whether it is still at work or a later stage is."""
    most = s.plan.time.high_hours
    own = of_last_pass(s.history.attempts, "pretrain")
    taken = seconds_at_work(own, s.history.last_time)
    if not s.working or not most or taken <= 3600 * most:
        return
    trains = s.history.current == "pretrain"
    if trains and any(slow(s)):
        return  # which says it with its reason
    usual = formatting.duration(3600 * s.plan.time.hours) if s.plan.time.hours else "?"
    yield Finding(
        "late",
        "warn" if trains else "hint",
        f"pretraining {'has taken' if trains else 'took'} {formatting.duration(taken)}, planned were {usual}, "
        f"{formatting.duration(3600 * most)} at most",
        "look for throttling, data wait or other programs on this machine; nanosolo doctor measures it",
        {},
        "the next plan on this device counts with what was measured here",
    )


def waits_for_data(s: Situation) -> Iterator[Finding]:
    share = data_wait(s.columns)
    if s.working and share is not None and share > DATA_WAIT:
        yield Finding(
            "data_wait",
            "warn",
            f"{formatting.percent(share)} of each step waits for data",
            "keep the token files on a local disk, and leave the processor to this run",
            {},
            f"up to {formatting.percent(share / (1 - share) if share < 1 else 1.0)} faster",
        )


def headroom(s: Situation) -> Iterator[Finding]:
    gpu = gpu_of(s.plan)
    measured = measured_peak(s.history, s.plan)
    if not gpu.is_cuda or measured is None or gpu.peak_flops <= 0 or s.history.out_of_memory:
        return
    seen = s.history.machine.recent("gpu_used", RECENT_READINGS)
    used = max([measured, *(int(value * GIB) for value in seen)])  # what others hold is not there to be had
    offer = larger_batch(s.config, gpu, s.plan.compiled, used / s.plan.memory.total)
    if offer is None:
        return
    change, peak, gain = offer
    left = remaining_seconds(s.history)
    saved = f", {formatting.duration(left * gain / (1 + gain))} less for what is left" if left and s.working else ""
    yield Finding(
        "headroom",
        "hint",
        f"{used / GIB:.1f} of {gpu.capacity / GIB:.1f} GiB are used at the peak",
        f"device_batch_size {change['batch.device_batch_size']} fits",
        change,
        f"{formatting.percent(gain)} faster at {peak / GIB:.1f} GiB{saved}",
    )


def larger_batch(config: RunConfig, gpu: Gpu, compiled: bool, scale: float) -> tuple[Changes, int, float] | None:
    """(change, peak in bytes, gain in speed) of the largest device batch that fits and leaves the step as it is.

    `scale` is the measured over the predicted peak. None where nothing larger fits or it would gain too little.
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


def squeezed(s: Situation) -> Iterator[Finding]:
    """Memory ran out and the stage goes on with smaller pieces: the settings that would not need that."""
    if not s.working or not s.history.out_of_memory:
        return
    last = s.history.out_of_memory[-1]
    begun = s.history.stages.get(last.stage)
    if begun is None or last.t < begun.started:
        return  # it was started anew since
    found = post_mortem(s.history, s.plan, s.config)
    ways = [way for way in found.ways if way.fits and not way.changes_model]
    change = ways[0].change if ways else {}
    yield Finding(
        "out_of_memory",
        "warn",
        f"memory ran out at step {last.step:,} in {last.phase}: {last.action}",
        f"next time: {ways[0].message}" if ways else "next time take a smaller batch.device_batch_size",
        change,
        "no step is done twice",
    )


def throttled(s: Situation) -> Iterator[Finding]:
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
    yield Finding(
        "throttled",
        "warn" if hot or lost > 0.15 else "hint",
        f"the GPU is held back by {reasons}{clock}{heat}",
        "improve its cooling" if hot else "raise its power limit if you may (nvidia-smi -pl)",
        {},
        f"up to {formatting.percent(lost / (1 - lost))} faster"
        if 0.01 < lost < 1
        else "little: its clock is near its best",
    )


def shared_gpu(s: Situation) -> Iterator[Finding]:
    readings = s.history.machine.recent("processes", RECENT_READINGS)
    if not s.working or not readings or readings[-1] <= 1:
        return
    used = s.history.machine.recent("gpu_used", 1)
    own = measured_peak(s.history, s.plan)
    theirs = used[-1] - own / GIB if used and own is not None else 0.0
    holding = f", they hold about {theirs:.1f} GiB" if theirs > 0.5 else ""
    others = int(readings[-1]) - 1
    yield Finding(
        "shared_gpu",
        "warn",
        f"{others} other process{'es are' if others > 1 else ' is'} on this GPU{holding}",
        "end what is not yours to need: nvidia-smi lists it",
        {},
        "its memory and time come back to this run",
    )


def disk(s: Situation) -> Iterator[Finding]:
    free = s.history.machine.recent("disk_free", 1)
    if not s.working or not free:
        return
    kept = min(len({c.path for c in s.history.checkpoints}), s.config.checkpoint.keep_last)
    need = (s.config.checkpoint.keep_last + 1 - kept) * s.plan.checkpoint_bytes / GIB
    falling = disk_trend(s.history)
    left = remaining_seconds(s.history)
    fewer = s.config.checkpoint.keep_last - 1
    saves = fewer * s.plan.checkpoint_bytes / GIB
    change: Changes = {"checkpoint.keep_last": 1} if fewer > 0 else {}
    effect = f"keeping one checkpoint needs {saves:.1f} GiB less" if fewer > 0 else "the run can save its checkpoints"
    if free[-1] < need + DISK_RESERVE:
        yield Finding(
            "disk",
            "bad",
            f"{free[-1]:.1f} GiB of disk are free; the run still writes {need:.1f} GiB of checkpoints",
            "free some space" + (", or keep fewer checkpoints" if fewer > 0 else ""),
            change,
            effect,
        )
    elif falling is not None and left is not None and falling * left > free[-1] - DISK_RESERVE:
        yield Finding(
            "disk",
            "warn",
            f"{free[-1]:.1f} GiB of disk are free and {falling * 3600:.1f} GiB go every hour: "
            f"full in {formatting.duration(free[-1] / falling)}, the run needs {formatting.duration(left)}",
            "find what fills it, or free some space",
            change,
            effect,
        )


def disk_trend(history: History) -> float | None:
    """GiB a second by which free space fell over the last hour of readings; None where it did not, or too few."""
    machine = history.machine
    times, free = machine.time[-DISK_TREND_READINGS:], machine["disk_free"][-DISK_TREND_READINGS:]
    if len(times) < RECENT_READINGS or times[-1] - times[0] < 60:
        return None
    fallen = (free[0] - free[-1]) / (times[-1] - times[0])
    return fallen if fallen > 0 else None  # NaN compares false
