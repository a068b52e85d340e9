"""What the runs of a campaign start from: the stage to disturb, the stages before it, and an undisturbed run."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from engine.config.layers import to_toml, with_changes
from engine.run.directory import RunDirectory
from tests.helpers.tiny_run import STEPS, Base


class Baseline(NamedTuple):
    """`template` is a run up to the stage; each run is a copy of it."""

    stage: str
    template: Path
    undisturbed: RunDirectory

    def run(self, folder: Path) -> RunDirectory:
        shutil.copytree(self.template, folder)
        return RunDirectory(folder)


def pretraining(base: Base, folder: Path) -> Baseline:
    """Pretraining, from the first step."""
    return _ground(base.run(folder / "template"), "pretrain", folder)


def midtraining(base: Base, folder: Path) -> Baseline:
    """Midtraining on conversations, after a few steps of pretraining."""
    settings = {"midtrain__sources": ["builtin:200"], "midtrain__steps": STEPS, "midtrain__evaluate_every_steps": 10}
    run = base.run(folder / "template", budget__steps=3, **settings)
    to_its_end(run)
    run.config_file.write_text(to_toml(with_changes(run.config(), {"pipeline.stages": ["pretrain", "midtrain"]})))
    return _ground(run, "midtrain", folder)


def to_its_end(run: RunDirectory) -> None:
    """Run the rest of it, undisturbed."""
    done = subprocess.run((sys.executable, "-m", "engine", str(run.path)), capture_output=True, check=False)
    assert done.returncode == 0, run.log_file.read_text()


def _ground(run: RunDirectory, stage: str, folder: Path) -> Baseline:
    undisturbed = RunDirectory(folder / "undisturbed")
    shutil.copytree(run.path, undisturbed.path)
    to_its_end(undisturbed)
    return Baseline(stage, run.path, undisturbed)
