"""Scenarios that run nanosolo from data to report: real runner, real stages, real compiler, real allocator."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

from core_bundle import write_bundle
from findings import Check, none_of, stage_checks, usual_syncs, warm_steps
from session import LEARN, PATIENCE, SMALL, Session, settings

from engine.config.layers import from_dict, with_changes
from engine.config.schema import RunConfig
from engine.core.units import GIB
from engine.hardware import gpu_catalog
from engine.plan import memory
from engine.plan.memory_timeline import full_timeline, phase_peaks
from engine.plan.presets import load_preset
from engine.plan.shape import shape_of

TINY = {"model.depth": 4, "model.max_seq_len": 256}
LONG = {"model.depth": 4, "model.max_seq_len": 1024}  # so that a row takes noticeable memory
CORE_EXAMPLES = 2  # per task
WORKSPACES = 17 * 2**20  # bytes that cuBLAS requests from the allocator
UNTIL_PRETRAIN = ("--stages", "data,tokenizer,tokenize,pretrain")


def smoke(session: Session) -> Iterator[Check]:
    """The preset smoke, from data to report."""
    code = session.nanosolo("smoke", "--preset", "smoke", "--name", "smoke")
    yield from session.ended("smoke", "smoke", code)
    yield _reported("smoke", session, "smoke")
    yield from stage_checks("smoke", session.costs("smoke"), ("pretrain", "sft"))


def balanced(session: Session) -> Iterator[Check]:
    """The preset balanced with a small model: accumulation, evaluations, samples, checkpoints, and CORE."""
    changes = {
        "evaluate.core": write_bundle(session.folder / "core", CORE_EXAMPLES),
        "evaluate.core_max_per_task": CORE_EXAMPLES,
        "batch.total_batch_size": 4096,
        "budget.steps": 14,
        "evaluate.every_steps": 4,
        "evaluate.sample_every_steps": 4,
        "checkpoint.every_steps": 6,
    }
    code = session.nanosolo("balanced", "--preset", "balanced", "--name", "balanced", *settings(SMALL, TINY, changes))
    yield from session.ended("balanced", "balanced", code)
    yield _reported("balanced", session, "balanced")
    costs = session.costs("balanced")
    yield from stage_checks("balanced", costs, ("pretrain", "sft"))
    for stage in ("pretrain", "sft"):
        yield usual_syncs("balanced", costs, stage, "Evaluation", 1)
    tokens = len(RunConfig().evaluate.prompts) * SMALL["evaluate.sample_tokens"]
    yield usual_syncs("balanced", costs, "pretrain", "Sample", tokens)
    metrics = {event["metric"] for event in session.events("balanced", "evaluation")}
    tasks = sum(metric.startswith("core/") for metric in metrics)
    yield Check("balanced", "tasks of CORE", str(tasks), "22", tasks == 22)
    sampling = [cost for cost in costs if cost.kind == "Sample"]
    yield none_of("balanced", "graphs compiled for samples", sampling, "graphs")


def resume(session: Session) -> Iterator[Check]:
    """A run that is stopped writes a checkpoint and resumes from it."""
    steps = 400
    changes = {"budget.steps": steps, "batch.total_batch_size": 2048}
    arguments = ("--preset", "balanced", "--name", "resume", *UNTIL_PRETRAIN, *settings(SMALL, TINY, changes))
    with session.process("resume", *arguments) as process:
        _wait_for_step(session, "resume", 3, process)
        runner = json.loads((session.run("resume") / "runner.json").read_text())
        os.kill(runner["pid"], signal.SIGTERM)  # as `nanosolo stop` does
        code = process.wait(PATIENCE)
    yield from session.ended("resume", "resume", code, 130)
    stopped_at = max(event["step"] for event in session.events("resume", "checkpoint"))
    yield Check("resume", "stopped on the way", f"step {stopped_at}", f"before {steps}", 0 < stopped_at < steps)
    code = session.nanosolo("resume", "resume", "resume")
    yield from session.ended("resume", "resume", code)
    numbers = [event["step"] for event in session.events("resume", "step")]
    yield Check(
        "resume", "steps done", f"{len(numbers)}", f"each of {steps} once", numbers == list(range(1, steps + 1))
    )
    yield from stage_checks("resume", session.costs("resume"), ("pretrain",))


def rl(session: Session) -> Iterator[Check]:
    """Reinforcement learning, requested after the pipeline of smoke."""
    if not session.run("smoke").exists():
        yield from smoke(session)
    code = session.nanosolo("rl", "resume", "smoke", "--stages", "rl", *settings(LEARN))
    yield from session.ended("rl", "smoke", code)
    costs = session.costs("rl")
    steps = [cost for cost in costs if (cost.stage, cost.kind) == ("rl", "Step")]
    yield Check("rl", "steps done", f"{len(steps)}", "2", len(steps) == 2)
    rewards = [event["value"] for event in session.events("smoke", "evaluation") if event["metric"] == "reward"]
    mixed = len(rewards) == 2 and all(0 < reward < 1 for reward in rewards)
    yield Check("rl", "rewards of its answers", ", ".join(f"{r:.2f}" for r in rewards), "right and wrong ones", mixed)
    yield none_of("rl", "graphs compiled", costs, "graphs")  # answers differ in length: nothing is compiled
    yield none_of("rl", "graph breaks", costs, "breaks")


def fit(session: Session) -> Iterator[Check]:
    """`fit` tries larger sizes until memory runs out, and handles that."""
    changes = {"batch.total_batch_size": 8192}
    sizes = (4, 8)
    room = _room_between(_config({**SMALL, **LONG, **changes}), *sizes)
    options = settings(SMALL, LONG, changes)
    arguments = ("fit", "--preset", "balanced", "--json", "--iterations", "1", *options)
    with session.process("fit", *arguments, env=_with(room), stdout=subprocess.PIPE) as process:
        text, _ = process.communicate(timeout=PATIENCE)
    trials = json.loads(text or b"{}").get("trials", [])
    outcomes = {trial["device_batch_size"]: trial["outcome"] for trial in trials}
    session.measured["fit"] = trials
    yield Check("fit", "exit code", str(process.returncode), "0", process.returncode == 0)
    for size, wanted in zip(sizes, ("done", "out_of_memory"), strict=True):
        found = outcomes.get(size, "not tried")
        yield Check("fit", f"batch of {size} in {room / GIB:.2f} GiB", found, wanted, found == wanted)


def ladder(session: Session) -> Iterator[Check]:
    """Memory runs out: the step is replayed in halves and training continues; it ends if one row does not fit."""
    changes = {"batch.device_batch_size": 8, "batch.total_batch_size": 8192, "budget.steps": 8}
    config = _config({**SMALL, **LONG, **changes})
    arguments = ("--preset", "balanced", *UNTIL_PRETRAIN, *settings(SMALL, LONG, changes))
    room = _room_between(config, 2, 4)
    code = session.nanosolo("ladder", *arguments, "--name", "ladder", env=_with(room))
    yield from session.ended("ladder", "ladder", code)
    actions = [event["action"] for event in session.events("ladder", "out_of_memory")]
    replayed = [f"replaying the same batch with {rows} sequences at a time" for rows in (4, 2)]
    yield Check("ladder", f"replays in {room / GIB:.2f} GiB", f"{len(actions)}", "8 to 4 to 2", actions == replayed)
    costs = session.costs("ladder")
    done = sorted(event["step"] for event in session.events("ladder", "step"))
    yield Check("ladder", "steps done", f"{len(done)}", "8", done == list(range(1, 9)))
    yield none_of("ladder", "graphs compiled in steps after the replay", warm_steps(costs, "pretrain"), "graphs")
    yield none_of("ladder", "graph breaks", costs, "breaks")

    nothing = _peak(config, 1) * 0.8
    code = session.nanosolo("ladder", *arguments, "--name", "ladder-end", env=_with(nothing))
    yield from session.ended("ladder", "ladder-end", code, 3)
    actions = [event["action"] for event in session.events("ladder-end", "out_of_memory")]
    last = actions[-1] if actions else "none"
    yield Check("ladder", f"last action in {nothing / GIB:.2f} GiB", last, "stopped", last == "stopped")


def _reported(scenario: str, session: Session, name: str) -> Check:
    stages = [event["stage"] for event in session.events(name, "stage_ended") if event["outcome"] == "done"]
    page = (session.run(name) / "report.html").exists()
    return Check(scenario, "stages done", ", ".join(stages), "all, with a report", page and stages[-1:] == ["report"])


def _wait_for_step(session: Session, name: str, step: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if any(event["step"] >= step for event in session.events(name, "step")):
            return
        time.sleep(0.1)


def _config(changes: dict[str, object]) -> RunConfig:
    return with_changes(from_dict(load_preset("balanced")), changes)


def _peak(config: RunConfig, rows: int) -> int:
    """Bytes of a training step with this many rows at a time, by formula, with cuBLAS's workspaces."""
    sized = with_changes(config, {"batch.device_batch_size": rows})
    gpu = gpu_catalog.by_id("a100-40gb")
    mode = memory.resolve_checkpointing(shape_of(sized), sized.batch, gpu, True)
    timeline = full_timeline(shape_of(sized), sized.batch, mode, cuda=True, compiled=True)
    return WORKSPACES + max(phase_peaks(timeline).values())


def _room_between(config: RunConfig, fits: int, does_not: int) -> float:
    """Bytes of memory in which one number of rows fits and the other does not."""
    return (_peak(config, fits) + _peak(config, does_not)) / 2


def _with(memory_bytes: float) -> dict[str, str]:
    return {"NULLGPU_GIB": f"{memory_bytes / GIB:.4f}"}
