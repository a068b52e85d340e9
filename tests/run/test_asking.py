"""Stages alone, again and beyond the pipeline, with real processes: what runs, what is kept, what an end in between
leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.stages import STAGES, first_missing, named_stages
from engine.core.errors import UsageError
from engine.events.history import read_history
from engine.events.kinds import Evaluation, StageAnew, StagesAsked, StageStarted, decode
from engine.events.log import EventLog, read_events
from engine.launch import rerun
from engine.launch.control import stop_run
from engine.launch.prepare import prepare
from engine.launch.rerun import describe, plan_rerun, rerun_stages
from engine.launch.start import resume_run, start
from engine.run.directory import RunDirectory, RunLock
from engine.run.stage_status import is_finished, read_stage_status
from engine.run.state import state_of
from tests.helpers.made_run import story_of, write_run
from tests.helpers.stand_in_runs import processes_of, wait_for

MakeRun = Callable[..., RunDirectory]
ALL = ("data", "tokenizer", "tokenize", "pretrain", "evaluate", "sft", "chat_eval", "report")


def to_its_end(run: RunDirectory) -> int:
    """Run what is wanted, in the foreground."""
    return subprocess.run((sys.executable, "-m", "engine", str(run.path)), check=False, capture_output=True).returncode


def behave(run: RunDirectory, **behaviour: str) -> None:
    (run.path / "behaviour.json").write_text(json.dumps(behaviour))


def begun(run: RunDirectory, since: int = 0) -> list[str]:
    return [e.stage for e in list(read_events(run.events_file))[since:] if isinstance(e, StageStarted)]


def count(run: RunDirectory) -> int:
    return len(list(read_events(run.events_file)))


def weights(run: RunDirectory, stage: str) -> str:
    return (run.checkpoints(stage) / "step_000001" / "model.safetensors").read_text()


def over(run: RunDirectory) -> None:
    wait_for(lambda: not run.is_running())


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def finished(make_run: MakeRun, made_once: Path) -> RunDirectory:
    """A run that is done; a copy of one that really was."""
    run = make_run(stages=ALL)
    if not made_once.exists():
        assert to_its_end(run) == 0
        shutil.copytree(run.path, made_once)
    shutil.copytree(made_once, run.path, dirs_exist_ok=True)
    return run


def test_a_stage_is_repeated_alone_and_its_earlier_result_is_kept(finished: RunDirectory) -> None:
    before = count(finished)
    asked = rerun_stages(finished, named_stages(["sft"], "--stages"))
    assert asked is not None
    assert (asked.restarted, asked.archived, asked.outdated) == (("sft",), {"sft": "sft.1"}, ("chat_eval", "report"))
    over(finished)
    assert begun(finished, before) == ["sft"]
    assert (weights(finished, "sft.1"), weights(finished, "sft")) == ("sft 0", "sft 1")
    history = read_history(finished.events_file)
    assert list(history.columns("sft").loss) == [1.0]  # the new one, once
    assert list(history.columns("pretrain").loss) == [0.0]
    assert state_of(finished, history) == "finished" and is_finished(finished)
    rerun_stages(finished, named_stages(["sft"], "--stages"))
    over(finished)
    assert [weights(finished, name) for name in ("sft.1", "sft.2", "sft")] == ["sft 0", "sft 1", "sft 2"]


def test_stages_run_in_the_order_of_the_pipeline_also_those_that_it_lacks(finished: RunDirectory) -> None:
    before = count(finished)
    asked = rerun_stages(finished, named_stages(["report", "chat_eval", "rl"], "--stages"))
    assert asked is not None and (asked.stages, asked.archived) == (("rl", "chat_eval", "report"), {})
    over(finished)
    assert begun(finished, before) == ["rl", "chat_eval", "report"]
    values = [e for e in read_history(finished.events_file).evaluations if e.metric == "chat_core"]
    assert len(values) == 1  # what was found before counts no longer


def test_whatever_ends_it_a_plain_resume_goes_on_with_what_was_asked_for(finished: RunDirectory) -> None:
    behave(finished, rl="wait")
    (finished.path / "rl.began").unlink(missing_ok=True)
    before = count(finished)
    rerun_stages(finished, named_stages(["sft", "rl", "report"], "--stages"))
    wait_for((finished.path / "rl.began").exists)
    for process in processes_of(finished):
        process.send_signal(signal.SIGKILL)
    over(finished)
    behave(finished)
    resume_run(finished)
    over(finished)
    assert begun(finished, before) == ["sft", "rl", "rl", "report"]
    assert not finished.checkpoints("sft.2").exists()
    with pytest.raises(UsageError, match="is finished"):
        resume_run(finished)


@pytest.mark.parametrize("done", ["nothing", "the move", "the move and the event"])
def test_an_end_while_a_result_is_set_aside(finished: RunDirectory, done: str) -> None:
    """The wish is written; the runner that was to set the result aside has come so far."""
    rerun._record(finished, plan_rerun(finished, ("sft",)))
    if done != "nothing":
        finished.checkpoints("sft").rename(finished.checkpoints("sft.1"))
    if done == "the move and the event":
        log = EventLog(finished.events_file)
        log.write(StageAnew(stage="sft", path="checkpoints/sft.1"))
        log.close()
    before = count(finished)
    assert not is_finished(finished)
    resume_run(finished)
    over(finished)
    assert begun(finished, before) == ["sft"]
    assert (weights(finished, "sft.1"), weights(finished, "sft")) == ("sft 0", "sft 1")
    assert sum(isinstance(e, StageAnew) for e in read_events(finished.events_file)) == 1
    assert not finished.checkpoints("sft.2").exists()


def test_half_done_goes_on_and_begins_anew_only_where_that_is_asked(make_run: MakeRun) -> None:
    run = make_run(stages=ALL, sft="raise")
    assert to_its_end(run) == 5
    (run.checkpoints("sft") / "step_000001").mkdir(parents=True)
    assert plan_rerun(run, ("sft",)).restarted == ()
    asked = plan_rerun(run, ("sft",), restart=True)
    assert (asked.restarted, asked.archived) == (("sft",), {"sft": "sft.1"})
    behave(run)
    rerun_stages(run, ("sft",), restart=True)
    over(run)
    assert weights(run, "sft") == "sft 1"
    # what is left of the pipeline is still wanted
    assert state_of(run, read_history(run.events_file)) == "stopped"
    ended = read_history(run.events_file).ended
    assert ended is not None and (ended.exit_code, "continues with chat_eval" in ended.message) == (0, True)
    before = count(run)
    resume_run(run)
    over(run)
    assert begun(run, before) == ["chat_eval", "report"]
    assert is_finished(run)


def test_what_is_half_done_on_weights_that_are_made_anew_begins_anew(make_run: MakeRun) -> None:
    run = make_run(stages=ALL, chat_eval="raise")
    assert to_its_end(run) == 5
    log = EventLog(run.events_file)  # one of its tasks was judged by the model that sft made first
    log.write(Evaluation(stage="chat_eval", step=1, metric="chat/builtin", value=0.0, seconds=0.0, examples=9))
    log.close()
    asked = plan_rerun(run, ("sft", "chat_eval"))
    assert (asked.restarted, asked.restarted_later) == (("sft", "chat_eval"), ())
    asked = plan_rerun(run, ("sft",))
    assert (asked.restarted, asked.restarted_later, asked.outdated) == (("sft",), ("chat_eval",), ())
    assert describe(run, asked)[1].endswith("so it will restart: chat_eval")
    asked = plan_rerun(run, ("midtrain",))  # sft is whole, and only told of
    assert (asked.restarted, asked.restarted_later, asked.outdated) == ((), ("chat_eval",), ("sft",))
    behave(run)
    rerun_stages(run, ("sft",))
    over(run)
    assert "chat_eval" in read_stage_status(run, ALL).restart
    resume_run(run)
    over(run)
    assert is_finished(run)
    assert [e.metric for e in read_history(run.events_file).evaluations if e.stage == "chat_eval"] == ["chat_core"]


def test_checkpoints_that_are_half_done_on_other_weights_move_when_their_turn_comes(make_run: MakeRun) -> None:
    run = make_run(stages=ALL, sft="raise")
    assert to_its_end(run) == 5
    folder = run.checkpoints("sft") / "step_000001"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("half")
    behave(run)
    asked = rerun_stages(run, ("pretrain",))
    assert asked is not None and (asked.restarted_later, asked.archived) == (
        ("sft",), {"pretrain": "pretrain.1", "sft": "sft.1"}
    )  # fmt: skip
    over(run)
    assert weights(run, "sft") == "half"
    resume_run(run)
    over(run)
    assert (weights(run, "sft.1"), weights(run, "sft")) == ("half", "sft 1") and is_finished(run)


def test_a_second_wish_replaces_the_first(finished: RunDirectory) -> None:
    behave(finished, pretrain="wait")
    (finished.path / "pretrain.began").unlink()
    rerun_stages(finished, named_stages(["pretrain", "sft"], "--stages"))
    wait_for((finished.path / "pretrain.began").exists)
    stop_run(finished)
    over(finished)
    behave(finished)
    (finished.checkpoints("pretrain") / "step_000001").mkdir(parents=True)  # of the half that was done
    before = count(finished)
    rerun_stages(finished, ("chat_eval",))
    over(finished)
    assert begun(finished, before) == ["chat_eval"]
    # both stages of the first are not what they were; sft was never reached and has moved nowhere
    assert weights(finished, "sft") == "sft 0"
    resume_run(finished)
    over(finished)
    assert begun(finished, before) == ["chat_eval", "pretrain", "sft", "report"]
    assert weights(finished, "sft.1") == "sft 0"


def test_what_a_stage_needs_is_named_before_anything_starts(make_run: MakeRun) -> None:
    run = make_run(stages=("data", "tokenizer", "tokenize", "pretrain"))
    for stages, first in (("sft",), "pretrain"), (("chat_eval",), "pretrain"), (("pretrain",), "tokenize"):
        with pytest.raises(UsageError, match=f"lacks. Run it first: nanosolo resume one --stages .*{first}"):
            rerun_stages(run, named_stages(stages, "--stages"))
    assert not run.events_file.exists()
    with RunLock(run), pytest.raises(UsageError, match="Stop it first"):
        rerun_stages(run, ("data",))


def test_settings_of_a_stage_change_with_it(finished: RunDirectory) -> None:
    rerun_stages(finished, ("chat_eval",), {"chat_eval.max_per_task": 3})
    over(finished)
    assert finished.config().chat_eval.max_per_task == 3
    assert (finished.path / "run.before-1.toml").exists()
    was = (finished.config_file.read_bytes(), count(finished))
    for changes, words in (
        ({"model.depth": 2}, "Start a new run"),
        ({"pipeline.stages": ["sft"]}, "name the stages to run with --stages"),
        ({"sft.epoch": 2}, "Did you mean sft.epochs"),
    ):
        with pytest.raises(UsageError, match=words):
            rerun_stages(finished, ("sft",), changes)
    with pytest.raises(UsageError, match="is finished"):
        rerun_stages(finished, (), {"sft.epochs": 2.0})
    assert (finished.config_file.read_bytes(), count(finished)) == was


def test_a_file_that_is_named_on_the_way_is_found_from_everywhere(
    finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.jsonl").write_text('[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]\n')
    rerun_stages(finished, ("sft",), {"sft.sources": ["mine.jsonl"]})
    over(finished)
    assert finished.config().sft.sources == (str(tmp_path / "mine.jsonl"),)


def test_a_disk_without_room_for_both_is_told_of(finished: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(finished.path)._replace(free=rerun.MIN_FREE)
    monkeypatch.setattr(rerun.shutil, "disk_usage", lambda path: full)
    with pytest.raises(UsageError, match=r"256 MiB free.* rm -r .*/checkpoints/sft"):
        rerun_stages(finished, ("sft",))
    assert plan_rerun(finished, ("chat_eval",)).restarted == ("chat_eval",)  # this keeps nothing


def test_it_is_told_in_words(finished: RunDirectory) -> None:
    lines = describe(finished, plan_rerun(finished, ("pretrain", "evaluate")))
    assert lines[0] == "run one: pretrain again (its checkpoints move to checkpoints/pretrain.1), evaluate again"
    assert lines[-1].startswith(
        "! outdated after this, as built on earlier weights: sft, chat_eval, report. Run again afterwards: nanosolo"
    )


def test_a_pipeline_without_what_a_stage_needs_is_refused(finished: RunDirectory) -> None:
    from engine.config.layers import with_changes

    config = with_changes(finished.config(), {"pipeline.stages": ["data", "sft"]})
    with pytest.raises(UsageError, match="sft starts from the weights of pretrain"):
        start(prepare(config), "two")
    assert not Path(os.environ["NANOSOLO_HOME"], "runs", "two").exists()


def test_a_wish_out_of_a_hostile_file_moves_nothing_and_runs_nothing(finished: RunDirectory) -> None:
    log = EventLog(finished.events_file)
    log.write(StagesAsked(stages=("sft", "evil"), anew={"sft": "../../out", "../pretrain": "x.1", "pretrain": "sft.1"}))
    log.close()
    status = read_stage_status(finished, ALL)
    assert (status.wanted, status.restart) == (("sft",), {})
    assert to_its_end(finished) == 0
    assert not (finished.path.parent / "out").exists() and weights(finished, "pretrain") == "pretrain 0"


def test_names_of_stages() -> None:
    assert named_stages(["report", " sft"], "--stages") == ("sft", "report")
    assert first_missing(STAGES) is None
    for names, words in (["sfp"], "Did you mean sft"), (["sft", "sft"], "twice"), ([""], "at least one"):
        with pytest.raises(UsageError, match=words):
            named_stages(names, "--stages")


def test_a_reader_of_before_passes_over_the_new_kinds(finished: RunDirectory) -> None:
    """And still sees each step once, as a step that comes again replaces the one before."""
    rerun_stages(finished, ("sft",))
    over(finished)
    lines = finished.events_file.read_bytes().splitlines(keepends=True)
    old = [line for line in lines if not isinstance(decode(line), StagesAsked | StageAnew)]
    assert len(old) == len(lines) - 2
    finished.events_file.write_bytes(b"".join(old))
    assert list(read_history(finished.events_file).columns("sft").loss) == [1.0]
    assert read_stage_status(finished, ALL).left == ()


def test_a_wish_that_no_runner_has_taken_up_is_not_finished(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(3).end_stage("pretrain").end().add(StagesAsked, stages=("sft",), anew={})
    run = write_run(tmp_path, "red", story)
    assert state_of(run, read_history(run.events_file)) == "stopped"
    story.start("red", resumed=True).stage("sft").end_stage("sft").end()
    run = write_run(tmp_path, "later", story)
    assert state_of(run, read_history(run.events_file)) == "finished"
