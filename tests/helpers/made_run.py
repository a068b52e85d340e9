"""Generated runs that look like real ones on disk: noise, evaluations, checkpoints, a resume, any exit status."""

import math
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.config.layers import from_dict, to_toml
from engine.config.schema import RunConfig
from engine.core.units import GIB
from engine.events.kinds import (
    Checkpoint,
    Device,
    Evaluation,
    Event,
    OutOfMemory,
    Progress,
    Resumed,
    RunEnded,
    RunStarted,
    Sample,
    StageEnded,
    StageStarted,
    Step,
    System,
    encode,
)
from engine.hardware.gpu_catalog import Gpu, by_id
from engine.plan.plan import Plan, make_plan
from engine.plan.presets import load_preset
from engine.run.directory import RunDirectory

SAMPLES = (
    "The capital of France is Paris, a city on the river Seine. It is known for its museums and its bridges.",
    "If yesterday was Friday, then tomorrow will be Sunday, and the day after that the week begins again.",
    "The planets of the solar system are: Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune.",
)


def config_of(preset: str = "balanced", **changes: Any) -> RunConfig:
    """A preset's configuration with dotted changes, dots written as two underscores."""
    table = load_preset(preset)
    for path, value in changes.items():
        section, key = path.split("__")
        table.setdefault(section, {})[key] = value
    return from_dict(table)


def frozen(plan: Plan) -> Plan:
    """The plan with rounded predictions, for pictures that must not change when predictions improve."""
    time = msgspec.structs.replace(
        plan.time,
        tokens_per_second=plan.total_batch_size / 2.8,
        low_hours=13.0,
        hours=15.0,
        high_hours=18.0,
        mfu=0.42,
        step_seconds=2.8,
    )
    parts = {"weights": 2, "gradients": 2, "optimizer": 3, "activations": 12, "loss": 4, "overhead": 1}
    sizes = {name: size * GIB for name, size in parts.items()}
    memory = msgspec.structs.replace(plan.memory, **sizes, total=24 * GIB, capacity=int(39.39 * GIB), fits=True)
    return msgspec.structs.replace(plan, time=time, memory=memory)


def plan_of(config: RunConfig, gpu: Gpu | None = None) -> Plan:
    return make_plan(config, gpu or by_id("a100-40gb"))


class Story:
    """The events of one run, in order, on a simulated clock that ends at `end`."""

    def __init__(self, plan: Plan, config: RunConfig, begin: float, *, seed: int = 7, host: str | None = None) -> None:
        self.plan, self.config, self.now = plan, config, begin
        self.random = random.Random(seed)
        self.host = host or socket.gethostname()
        self.step_seconds = plan.time.step_seconds or 1.0
        self.tokens = 0
        self.step = 0
        self.stage_began = begin
        self.events: list[Event] = []

    def add(self, kind: type[Event], after: float = 0.0, /, **fields: Any) -> "Story":
        self.now += after
        self.events.append(kind(t=self.now, **fields))
        return self

    def start(self, name: str, resumed: bool = False, pid: int = 1) -> "Story":
        return self.add(RunStarted, name=name, version="0.1.0", host=self.host, pid=pid, resumed=resumed)

    def stage(self, stage: str, pid: int = 2) -> "Story":
        self.add(StageStarted, 1.0, stage=stage, pid=pid, argv=("python", "-m", "engine.stages.runtime", "x", stage))
        self.stage_began = self.now
        return self

    def end_stage(self, stage: str, outcome: str = "done", seconds: float | None = None, message: str = "") -> "Story":
        """`seconds`: the recorded duration, instead of the time since the stage began."""
        code = {"done": 0, "stopped": 130, "out_of_memory": 3, "diverged": 4}.get(outcome, 5)
        seconds = self.now + 0.1 - self.stage_began if seconds is None else seconds
        return self.add(StageEnded, 0.1, stage=stage, outcome=outcome, seconds=seconds, exit_code=code, message=message)

    def end(self, outcome: str = "done", message: str = "") -> "Story":
        code = {"done": 0, "stopped": 130, "out_of_memory": 3, "diverged": 4}.get(outcome, 5)
        return self.add(RunEnded, 0.1, outcome=outcome, exit_code=code, message=message)

    def preparation(self) -> "Story":
        """Complete the stages before training."""
        self.stage("data").add(Progress, 5, stage="data", done=10**9, total=int(9.8e9), unit="bytes")
        self.add(Progress, 200, stage="data", done=int(9.8e9), total=int(9.8e9), unit="bytes").end_stage("data")
        self.stage("tokenizer").add(Progress, 50, stage="tokenizer", done=2 * 10**9, total=2 * 10**9, unit="characters")
        self.end_stage("tokenizer").stage("tokenize")
        tokens = self.plan.tokens
        self.add(Progress, 500, stage="tokenize", done=tokens, total=tokens, unit="tokens")
        return self.end_stage("tokenize")

    def device(self, stage: str = "pretrain") -> "Story":
        return self.add(
            Device,
            4.0,
            stage=stage,
            device="cuda",
            name=self.plan.gpu_name,
            torch="2.13.0",
            compiled=self.plan.compiled,
            grad_accum_steps=self.plan.grad_accum_steps,
            device_batch_size=self.plan.device_batch_size,
        )

    def resume_at(self, step: int) -> "Story":
        self.step, self.tokens = step, step * self.plan.total_batch_size
        return self.add(Resumed, 3.0, stage="pretrain", step=step, path=f"checkpoints/pretrain/step_{step}")

    def loss_at(self, step: int) -> float:
        done = step / self.plan.steps
        smooth = 2.75 + 8.2 * math.exp(-step / max(12, self.plan.steps / 120)) + 1.35 * math.exp(-4.2 * done)
        return smooth - 0.16 * max(0.0, done - 0.8) / 0.2 + self.random.gauss(0, 0.022 + 0.06 * math.exp(-8 * done))

    def steps(self, count: int, *, evaluations: bool = True, machine: bool = True, **changes: Any) -> "Story":
        """`count` steps and the events between them. `changes` replace fields of every step."""
        every, saved = self.config.evaluate.every_steps, self.config.checkpoint.every_steps
        sampled = self.config.evaluate.sample_every_steps
        next_reading = self.now + 5
        for _ in range(count):
            seconds = self.step_seconds * self.random.gauss(1.02, 0.012)
            self.step += 1
            self.tokens += self.plan.total_batch_size
            norm = 0.28 + 2.5 * math.exp(-self.step / max(10, self.plan.steps / 60)) + abs(self.random.gauss(0, 0.03))
            fields: dict[str, Any] = {
                "stage": "pretrain",
                "step": self.step,
                "steps": self.plan.steps,
                "tokens": self.tokens,
                "loss": self.loss_at(self.step),
                "learning_rate_scale": 1.0,
                "grad_norm": norm,
                "step_seconds": seconds,
                "data_seconds": 0.004 * seconds,
                "tokens_per_second": self.plan.total_batch_size / seconds,
                "mfu": (self.plan.time.mfu or 0.5) * self.step_seconds / seconds,
                "peak_memory": int(0.97 * (self.plan.memory.total - self.plan.memory.overhead)),
            } | changes
            self.add(Step, seconds, **fields)
            if machine and self.now >= next_reading:
                next_reading = self.now + max(5.0, self.step_seconds)
                self.reading()
            if evaluations and every and self.step % every == 0:
                self.evaluate()
            if saved and self.step % saved == 0:
                self.checkpoint()
            if sampled and self.step % sampled == 0:
                self.sample()
        return self

    def rewards(self, count: int, every: int = 20) -> "Story":
        """`count` steps of rl: rewards rise, the policy's loss is near 0 except for one jump; evaluated sometimes."""
        for step in range(count + 1):
            reward = min(0.9, 0.1 + step / count)
            if step:
                self.add(Evaluation, stage="rl", step=step, metric="reward", value=reward, seconds=0.0, examples=32)
                loss = 3.0 if step == count - 1 else self.random.gauss(0, 1e-4)
                figures = {"learning_rate_scale": 1.0, "grad_norm": 0.1, "step_seconds": 2.0, "data_seconds": 0.0}
                rest = {"tokens_per_second": 900.0, "mfu": None, "peak_memory": 10**9}
                self.add(
                    Step, 2.0, stage="rl", step=step, steps=count, tokens=step * 1800, loss=loss, **figures, **rest
                )
            if step % every == 0:
                for metric, value in ("pass@1", reward), ("pass@8", min(1.0, 1.5 * reward)):
                    self.add(Evaluation, 3.0, stage="rl", step=step, metric=metric, value=value, seconds=3.0)
        return self.add(Sample, stage="rl", step=count, prompt="What is 3 + 4?", text="3 + 4 = 7")

    def evaluate(self) -> "Story":
        value = self.loss_at(self.step) / math.log(2) / 4.55 + 0.01
        self.add(Evaluation, 12.0, stage="pretrain", step=self.step, metric="val_bpb", value=value, seconds=12.0)
        return self

    def checkpoint(self) -> "Story":
        path = f"checkpoints/pretrain/step_{self.step}"
        size = self.plan.checkpoint_bytes
        return self.add(Checkpoint, 3.0, stage="pretrain", step=self.step, path=path, bytes=size, seconds=3.0)

    def sample(self) -> "Story":
        for text in SAMPLES:
            words = text.split()
            prompt, rest = " ".join(words[:5]), " ".join(words[5:])
            self.add(Sample, 0.4, stage="pretrain", step=self.step, prompt=prompt, text=f" {rest}")
        return self

    def reading(self, *, gpu: dict[str, Any] | None = None, host: dict[str, Any] | None = None) -> "Story":
        used = 0.98 * self.plan.memory.total / GIB
        there = {
            "used": round(used, 2),
            "total": round(self.plan.memory.capacity / GIB, 2),
            "utilization": 99,
            "temperature": round(64 + self.random.gauss(0, 1.5)),
            "power": round(382 + self.random.gauss(0, 7)),
            "clock": 1410 - 15 * self.random.randrange(3),
            "throttle": [],
            "processes": 1,
        }
        around = {"cpu": 9.0 + self.random.random() * 4, "ram_used": 11.4, "ram_total": 85.0, "disk_free": 412.0}
        return self.add(System, gpu=there | (gpu or {}), host=around | (host or {}))

    def out_of_memory(self) -> "Story":
        fields = {"phase": "backward of the loss", "requested": int(3.1 * GIB), "allocated": int(36.9 * GIB)}
        capacity = self.plan.memory.capacity
        self.add(OutOfMemory, 0.3, stage="pretrain", step=self.step, capacity=capacity, action="stop", **fields)
        message = "out of GPU memory: 3.1 GiB were asked for"
        return self.end_stage("pretrain", "out_of_memory", message=message).end("out_of_memory", message)

    def begun(self, at: float) -> "Story":
        """Shift all times so that the first event is at `at`."""
        return self.until(self.now + at - self.events[0].t)

    def lines(self) -> Iterator[bytes]:
        return (encode(event) for event in self.events)

    def until(self, end: float) -> "Story":
        """Shift all times so that the last event is at `end`."""
        by = end - self.now
        self.events = [msgspec.structs.replace(event, t=event.t + by) for event in self.events]
        self.now = end
        return self


def write_run(home: Path, name: str, story: Story) -> RunDirectory:
    """Write the run to a directory under `home`."""
    run = RunDirectory(home / "runs" / name)
    run.path.mkdir(parents=True)
    run.config_file.write_text(to_toml(story.config))
    run.plan_file.write_bytes(msgspec.json.encode(story.plan))
    run.events_file.write_bytes(b"".join(story.lines()))
    return run


def story_of(name: str, end: float, preset: str = "balanced", **changes: Any) -> Story:
    """A run on an A100 with a rounded plan, up to its first training step; call `until` when all events are added."""
    config = config_of(preset, **changes)
    return Story(frozen(plan_of(config)), config, end).start(name).preparation().stage("pretrain").device()
