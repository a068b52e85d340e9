"""Which checkpoint of a run talks: the best stage's newest, or that of a stage that is named."""

from pathlib import Path
from typing import NamedTuple

from engine.checkpoint.manifest import code_of
from engine.config.schema import Stage
from engine.config.stages import MODEL_STAGES, with_needs
from engine.core.errors import UsageError
from engine.hardware.versions import this_code, warning_of_other_code
from engine.run.checkpoints import list_checkpoints
from engine.run.directory import RunDirectory
from engine.run.stage_status import is_finished, next_command, read_stage_status, results_of

STAGES_BY_PREFERENCE: tuple[Stage, ...] = MODEL_STAGES[::-1]  # the best one to chat with first
CHAT_STAGES = STAGES_BY_PREFERENCE[:-1]  # these have seen conversations


class Chosen(NamedTuple):
    """A checkpoint of a run."""

    stage: str
    step: int
    path: Path

    @property
    def chats(self) -> bool:
        """Whether its model was trained on conversations; if not, it continues any text."""
        return self.stage in CHAT_STAGES


def code_warning(chosen: Chosen) -> str:
    """One line where other code of nanosolo than this wrote the checkpoint; empty where it did not, or nobody knows."""
    what = f"step {chosen.step:,} of {chosen.stage}"
    return warning_of_other_code(what, code_of(chosen.path), this_code())


def chat_checkpoints(run: RunDirectory) -> list[Chosen]:
    """The newest checkpoint of each stage that has one, the best one to talk to first."""
    found = {stage: list_checkpoints(run.checkpoints(stage)) for stage in STAGES_BY_PREFERENCE}
    return [Chosen(stage, max(there), there[max(there)]) for stage, there in found.items() if there]


def choose_checkpoint(run: RunDirectory, stage: str | None = None) -> Chosen:
    """The newest checkpoint of a stage; by default of the last one that trains. Raises UsageError where none is."""
    if stage is not None and stage not in STAGES_BY_PREFERENCE:
        raise UsageError(f"--stage {stage}: expected one of {', '.join(reversed(STAGES_BY_PREFERENCE))}.")
    there = chat_checkpoints(run)
    for chosen in there:
        if stage in (None, chosen.stage):
            return chosen
    if there:
        have = ", ".join(chosen.stage for chosen in there)
        raise UsageError(f"run {run.name} has no checkpoint of {stage} yet. It has one of {have}.")
    raise UsageError(f"run {run.name} has no checkpoint yet. {_way_to_one(run)}")


def _way_to_one(run: RunDirectory) -> str:
    """How this run comes to a checkpoint, as a sentence."""
    if run.is_running() or not is_finished(run):
        way = next_command(run)
        return f"{way[:1].upper()}{way[1:]}"
    pipeline = run.config().pipeline.stages
    stages = ",".join(with_needs(["pretrain"], results_of(run, read_stage_status(run, pipeline))))
    return f"Train it: nanosolo resume {run.name} --stages {stages}"
