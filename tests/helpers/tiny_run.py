"""The smallest real runs: a small corpus, tokens written once, training in separate processes."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config.layers import from_dict, to_toml, with_changes
from engine.config.schema import RunConfig
from engine.events.history import read_history
from engine.events.kinds import AnyEvent, Step
from engine.events.log import read_events
from engine.hardware.gpu_catalog import cpu
from engine.plan.plan import make_plan
from engine.run.directory import RunDirectory
from engine.run.stage_context import StageContext
from engine.stages import tokenize, train_tokenizer

STEPS = 40
SAVE_EVERY = 5
PATIENCE = 60.0  # seconds for what takes about 5 s on an idle machine


def tiny_config(corpus: Path, **changes: Any) -> RunConfig:
    """A model of one block on one small file. Dots in the names of settings are written as two underscores."""
    base = from_dict(
        {
            "model": {"depth": 1, "max_seq_len": 32},
            "batch": {"device_batch_size": 4, "total_batch_size": 256},
            "budget": {"steps": STEPS},
            "data": {"source": "local", "paths": [str(corpus)], "validation_fraction": 0.1},
            "tokenizer": {"vocab_size": 300, "train_chars": 100_000},
            "evaluate": {"every_steps": 10, "tokens": 1024, "sample_every_steps": 0, "prompts": []},
            "checkpoint": {"every_steps": SAVE_EVERY, "keep_last": 2},
            "runtime": {"gpu": "cpu", "device": "cpu", "threads": 1},
            "pipeline": {"stages": ["pretrain"]},
        }
    )
    return with_changes(base, {path.replace("__", "."): value for path, value in changes.items()})


def write_corpus(path: Path) -> Path:
    """Write a text that a model can learn from; the same every time."""
    draw = random.Random(11)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 7))) for _ in range(200)]
    documents = ("\n".join(" ".join(draw.choices(words, k=12)) for _ in range(20)) for _ in range(60))
    path.mkdir(parents=True)
    for number, document in enumerate(documents):
        (path / f"{number:03d}.txt").write_text(document)
    return path


class Base:
    """A tokenized corpus, and runs on it."""

    def __init__(self, folder: Path) -> None:
        self.corpus = write_corpus(folder / "corpus")
        self.home = folder / "home"
        self.template = RunDirectory(folder / "template")
        self.template.path.mkdir()
        self.template.config_file.write_text(to_toml(tiny_config(self.corpus)))
        before = os.environ.get("NANOSOLO_HOME")
        os.environ["NANOSOLO_HOME"] = str(self.home)
        try:
            train_tokenizer.make_tokenizer(StageContext(self.template, "tokenizer"))
            tokenize.write_tokens(StageContext(self.template, "tokenize"))
        finally:
            os.environ.pop("NANOSOLO_HOME")
            if before is not None:
                os.environ["NANOSOLO_HOME"] = before

    def run(self, path: Path, **changes: Any) -> RunDirectory:
        """A run that is ready for its pretrain stage."""
        path.mkdir(parents=True, mode=0o700)
        shutil.copytree(self.template.tokenizer, path / "tokenizer")
        shutil.copy(self.template.tokens_file, path)
        run = RunDirectory(path)
        config = tiny_config(self.corpus, **changes)
        run.config_file.write_text(to_toml(config))
        run.plan_file.write_bytes(msgspec.json.encode(make_plan(config, cpu(1, 2**33))))
        return run


def train(run: RunDirectory, setup: str = "") -> subprocess.CompletedProcess[str]:
    """Run the pretrain stage in a separate process, after some lines of Python that change its environment."""
    arguments = [str(run.path), "pretrain"]
    code = f"import sys\nfrom engine.stages import runtime\n{setup}\nsys.exit(runtime.main({arguments!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)


def run_stages(base: Base, run: RunDirectory, names: Sequence[str]) -> None:
    """Run stages in separate processes. Raises AssertionError with the output of one that fails."""
    for stage in names:
        done = subprocess.run(
            [sys.executable, "-m", "engine.stages.runtime", str(run.path), stage],
            env={**os.environ, "NANOSOLO_HOME": str(base.home)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def losses(run: RunDirectory, stage: str = "pretrain") -> dict[int, float]:
    """Loss by step, from the events, without void steps."""
    columns = read_history(run.events_file).columns(stage)
    return dict(zip(columns.step, columns.loss, strict=True))


def events_of(run: RunDirectory, kind: type) -> list[Any]:
    """All events of a kind, in order."""
    return [event for event in read_events(run.events_file) if isinstance(event, kind)]


def final_weights(run: RunDirectory, step: int = STEPS, stage: str = "pretrain") -> dict[str, bytes]:
    """The files of the last checkpoint as bytes, without the manifest, which only repeats them."""
    folder = run.checkpoints(stage) / f"step_{step:06d}"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".safetensors"}


def wait_for_step(run: RunDirectory, step: int) -> None:
    """Return when the events have this step."""
    wait_until(lambda: any(e.step >= step for e in events_of(run, Step)), f"step {step} of {run.name}")


def wait_until(there: Callable[[], bool], what: str) -> None:
    """Return once `there` is true."""
    deadline = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come")
        time.sleep(0.01)


def kinds(events: list[AnyEvent]) -> list[str]:
    """The names of events, for comparing their order."""
    return [type(event).__name__ for event in events]
