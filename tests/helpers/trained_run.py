"""A run that was trained for a few seconds; it also serves as a chat model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine.run.directory import RunDirectory
from tests.helpers import tiny_run

STEPS = 30


def trained_run(folder: Path) -> RunDirectory:
    """A home with one run, `tiny`: pretrained, with a second checkpoint under `sft`, whose model has never seen
    a conversation."""
    base = tiny_run.Base(folder / "base")
    run = base.run(
        folder / "home" / "runs" / "tiny",
        model__depth=2,
        model__max_seq_len=128,
        batch__device_batch_size=4,
        batch__total_batch_size=512,
        budget__steps=STEPS,
        evaluate__every_steps=0,
        checkpoint__every_steps=0,
    )
    done = tiny_run.train(run)
    assert done.returncode == 0, done.stderr
    shutil.copytree(run.checkpoints("pretrain"), run.checkpoints("sft"))
    return run


def nanosolo(run: RunDirectory, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in the home of the run."""
    command = [sys.executable, "-c", "from tui.cli.main import entry; entry()", *arguments]
    return subprocess.run(command, env=home_of(run), capture_output=True, text=True, check=False, **options)


def home_of(run: RunDirectory) -> dict[str, str]:
    """The environment with the home of the run."""
    return os.environ | {"NANOSOLO_HOME": str(run.path.parents[1]), "OMP_NUM_THREADS": "1"}
