"""Where a run was started again with other settings or other code, the report says from which step on."""

import time
from pathlib import Path

from engine.events.history import History
from engine.events.kinds import Advice, RunStarted, Warning
from engine.report.changes import changes
from tests.helpers.made_run import Story, config_of, plan_of

CONFIG = config_of("quickstart")


def started(story: Story, commit: str, **more: str) -> Story:
    versions = {"commit": commit, **more}
    return story.add(RunStarted, name="one", version="0.1.0", host="x", pid=1, versions=versions)


def seen(story: Story) -> list[tuple[str, str, int | None, str]]:
    history = History()
    history.apply_all(story.events)
    return [(change.kind, change.stage, change.step, change.what) for change in changes(history)]


def half_trained() -> Story:
    story = started(Story(plan_of(CONFIG), CONFIG, time.time()), "aaa").preparation().stage("pretrain").device()
    return story.steps(20).checkpoint().end_stage("pretrain", "stopped").end("stopped")


def test_a_run_that_was_only_resumed_changed_nothing() -> None:
    story = started(half_trained(), "aaa").stage("pretrain").resume_at(20).steps(5)
    assert seen(story) == []


def test_other_code_holds_from_the_step_that_was_resumed() -> None:
    story = started(half_trained(), "bbb").stage("pretrain").resume_at(20)
    message = "checkpoints/pretrain/step_000020 was written by nanosolo 0.1.0 (aaa), this is 0.1.0 (bbb)"
    story.add(Warning, stage="pretrain", step=20, code="code_changed", message=message).steps(5)
    assert seen(story) == [("code", "pretrain", 20, "nanosolo 0.1.0 (aaa) -> 0.1.0 (bbb)")]
    # a checkout that changes while the run is under way: its later stages run other code than its runner
    story.end_stage("pretrain").stage("sft")
    story.add(Warning, stage="sft", step=0, code="code_changed", message="written by others")
    assert seen(story)[1:] == [("code", "sft", 0, "written by others")]


def test_other_settings_hold_from_the_step_that_was_resumed_or_the_stage_that_began() -> None:
    def relaunch(story: Story, what: str) -> Story:
        message = f"relaunched with {what}; before: run.before-1.toml"
        return story.add(Advice, 1.0, code="relaunched", message=message, change={}, effect="")

    story = relaunch(half_trained(), "optim.matrix_lr 0.02 -> 0.01")
    what = "optim.matrix_lr 0.02 -> 0.01; before: run.before-1.toml"
    assert seen(story) == [("settings", "", None, what)]
    started(story, "aaa").stage("pretrain").resume_at(20)
    story.add(Warning, stage="pretrain", step=20, code="config_changed", message="the same").steps(5)
    assert seen(story) == [("settings", "pretrain", 20, what)]
    story.end_stage("pretrain").stage("evaluate").end_stage("evaluate").end("stopped")
    relaunch(story, "sft.epochs 1 -> 3")
    started(story, "aaa").stage("sft").end_stage("sft")
    assert seen(story)[1:] == [("settings", "sft", 0, "sft.epochs 1 -> 3; before: run.before-1.toml")]


def test_other_uncommitted_changes_are_other_code() -> None:
    story = started(half_trained(), "aaa-dirty", changes="1")
    started(story, "aaa-dirty", changes="2").stage("report")
    assert [change[0] for change in seen(story)] == ["code", "code"]
    assert seen(story)[1] == (
        "code",
        "report",
        None,
        "nanosolo 0.1.0 (aaa-dirty) -> 0.1.0 (aaa-dirty), other uncommitted changes",
    )


def test_runs_of_before_say_nothing_of_code(tmp_path: Path) -> None:
    story = half_trained()
    story.start("one", resumed=True).stage("pretrain").resume_at(20).steps(3)
    assert seen(story) == []
