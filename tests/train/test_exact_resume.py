"""A run that was stopped, killed or moved ends with the losses and weights of one that nothing disturbed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.events.history import read_history
from engine.events.kinds import Checkpoint, Evaluation, Resumed, RunEnded, Step
from engine.launch.control import stop_run
from engine.launch.start import resume_run
from engine.run.directory import RunDirectory
from engine.run.runner import start_runner
from tests.helpers import tiny_run
from tests.helpers.tiny_run import (
    SAVE_EVERY,
    STEPS,
    Base,
    events_of,
    final_weights,
    losses,
    train,
    wait_for_step,
    wait_until,
)


def assert_same(run: RunDirectory, undisturbed: RunDirectory) -> None:
    assert losses(run) == losses(undisturbed)
    assert list(losses(run)) == list(range(1, STEPS + 1))
    assert final_weights(run) == final_weights(undisturbed)
    assert evaluations(run) == evaluations(undisturbed)


def evaluations(run: RunDirectory) -> dict[int, float]:
    return {event.step: event.value for event in read_history(run.events_file).evaluations}


def wait_for_the_end(run: RunDirectory) -> RunEnded:
    wait_until(lambda: not run.is_running() and read_history(run.events_file).ended is not None, "the end of the run")
    ended: RunEnded = events_of(run, RunEnded)[-1]
    return ended


def test_stopped_by_its_runner_moved_to_another_machine_and_resumed(
    base: Base, undisturbed: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = base.run(tmp_path / "run")
    start_runner(run)
    wait_for_step(run, STEPS // 2)
    stop_run(run)
    ended = wait_for_the_end(run)
    assert (ended.outcome, ended.exit_code) == ("stopped", 130)
    last = events_of(run, Step)[-1].step
    assert events_of(run, Checkpoint)[-1].step == last  # at the boundary: not one step is repeated
    assert last < STEPS

    moved = RunDirectory(tmp_path / "elsewhere" / "run")
    shutil.copytree(run.path, moved.path)
    shutil.rmtree(run.path)
    # its tokens are not there; the corpus is
    tokens = moved.path / "tokens.json"
    tokens.write_text(tokens.read_text().replace(str(base.home), "/nowhere"))
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path / "other-home"))
    resume_run(moved)
    assert wait_for_the_end(moved).outcome == "done"
    assert_same(moved, undisturbed)
    assert [event.step for event in events_of(moved, Step)] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("at", [2, 23])
def test_killed_and_run_again(base: Base, undisturbed: RunDirectory, tmp_path: Path, at: int) -> None:
    run = base.run(tmp_path / "run")
    process = subprocess.Popen([sys.executable, "-m", "engine.stages.runtime", str(run.path), "pretrain"])
    wait_for_step(run, at)
    process.kill()
    process.wait()
    reached = events_of(run, Step)[-1].step
    assert train(run).returncode == 0
    assert_same(run, undisturbed)
    [resumed] = events_of(run, Resumed)
    # save_every steps, and those made while a checkpoint was being written: the next waits for it
    assert 0 <= reached - resumed.step < 2 * SAVE_EVERY


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_in_a_checkpoint_at_the_step_boundary(base: Base, tmp_path: Path, number: int) -> None:
    run = base.run(tmp_path / "run", checkpoint__every_steps=0, budget__steps=4000)
    process = subprocess.Popen([sys.executable, "-m", "engine.stages.runtime", str(run.path), "pretrain"])
    wait_for_step(run, 3)
    process.send_signal(number)
    assert process.wait(tiny_run.PATIENCE) == 130
    assert events_of(run, Checkpoint)[-1].step == events_of(run, Step)[-1].step


# the signal, or the notice, comes in the loss of a micro-batch; a step has two
AT_MICRO_BATCH = """
import atexit, os, signal
from pathlib import Path
from engine.train import step, training
training.NOTICE_SECONDS = 0.0
loss, calls = step.summed_loss, []
def counted(*given):
    calls.append(given)
    if len(calls) == {number}: {stop}
    return loss(*given)
step.summed_loss = counted
atexit.register(lambda: print(len(calls)))
"""
SIGTERM_TO_ITSELF = "os.kill(os.getpid(), signal.SIGTERM)"


@pytest.mark.parametrize(
    ("number", "last"),
    [
        (13, 6),  # of the first micro-batch of step 7, which is dropped
        (14, 7),  # of the last: the step is as good as done
    ],
)
@pytest.mark.parametrize("notice", [False, True], ids=["signal", "notice"])
def test_a_stop_comes_between_micro_batches_and_the_step_is_repeated(
    base: Base, undisturbed: RunDirectory, tmp_path: Path, number: int, last: int, notice: bool
) -> None:
    run = base.run(tmp_path / "run", checkpoint__every_steps=0)
    stop = f"Path({str(run.preempt_file)!r}).touch()" if notice else SIGTERM_TO_ITSELF
    stopped = train(run, AT_MICRO_BATCH.format(number=number, stop=stop))
    assert stopped.returncode == 130, stopped.stderr
    assert f" after step {last} of {STEPS}. Resume with: nanosolo resume run" in stopped.stderr
    assert stopped.stdout.splitlines()[-1] == str(number)  # not one micro-batch more
    assert (events_of(run, Step)[-1].step, events_of(run, Checkpoint)[-1].step) == (last, last)
    assert train(run).returncode == 0
    assert_same(run, undisturbed)


def test_a_stop_in_the_first_step_ends_it_at_once_as_all_is_saved(
    base: Base, undisturbed: RunDirectory, tmp_path: Path
) -> None:
    run = base.run(tmp_path / "run")
    shutil.copytree(undisturbed.checkpoints("pretrain"), run.checkpoints("pretrain"))
    for newer in list(run.checkpoints("pretrain").glob("step_*"))[1:]:
        shutil.rmtree(newer)
    [kept] = run.checkpoints("pretrain").glob("step_*")
    # inside the handler of a library that holds everything for a fault of its own, as compilers do
    at_once = SIGTERM_TO_ITSELF + "\n    try: len(calls)\n    except Exception: raise SystemExit(99)"
    stopped = train(run, AT_MICRO_BATCH.format(number=1, stop=at_once))
    assert (stopped.returncode, stopped.stderr) == (130, "stopped as asked\n")
    assert not events_of(run, Step)
    assert not events_of(run, Checkpoint)
    assert list(run.checkpoints("pretrain").glob("step_*")) == [kept]


@pytest.mark.parametrize("where", ["in the run", "as configured"])
def test_a_preemption_notice_is_a_signal_too(base: Base, tmp_path: Path, where: str) -> None:
    notice = tmp_path / "notice"
    run = base.run(tmp_path / "run", budget__steps=4000, runtime__preempt_file=str(notice))
    process = subprocess.Popen([sys.executable, "-m", "engine.stages.runtime", str(run.path), "pretrain"])
    wait_for_step(run, 3)
    (notice if where == "as configured" else run.preempt_file).touch()
    assert process.wait(tiny_run.PATIENCE) == 130
    assert events_of(run, Checkpoint)[-1].step == events_of(run, Step)[-1].step
    assert not run.preempt_file.exists()  # so that a resume goes on
    assert notice.exists() == (where == "as configured")  # its owner's


def test_the_checkpoint_comes_before_the_evaluation(undisturbed: RunDirectory) -> None:
    order = [
        (type(event), event.step)
        for event in tiny_run.read_events(undisturbed.events_file)
        if isinstance(event, Checkpoint | Evaluation)
    ]
    assert order.index((Checkpoint, STEPS)) < order.index((Evaluation, STEPS))


def test_an_evaluation_that_a_stop_breaks_off_is_done_after_the_resume(
    base: Base, undisturbed: RunDirectory, tmp_path: Path
) -> None:
    run = base.run(tmp_path / "run", checkpoint__every_steps=0)
    # the signal comes while the evaluation after step 20 is at work
    interrupt = (
        "import os, signal\nfrom engine.evaluate import evaluator as e\nmeasure = e.bits_per_byte\n"
        "def measured(*given):\n"
        "    measured.calls += 1\n"
        "    if measured.calls == 3: os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return measure(*given)\n"
        "measured.calls = 0\ne.bits_per_byte = measured\n"
    )
    assert train(run, interrupt).returncode == 130
    assert events_of(run, Checkpoint)[-1].step == 20
    assert 20 not in evaluations(run)
    assert train(run).returncode == 0
    assert_same(run, undisturbed)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    base: Base, undisturbed: RunDirectory, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(undisturbed.path, run.path)
    newest = run.checkpoints("pretrain") / f"step_{STEPS:06d}" / "model.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 4
    newest.write_bytes(content)
    assert train(run).returncode == 0
    warning = read_history(run.events_file).warnings[-1]
    assert warning.code == "checkpoint_damaged"
    assert str(newest) in warning.message
    assert events_of(run, Resumed)[-1].step == STEPS - SAVE_EVERY
    assert_same(run, undisturbed)
    assert not newest.parent.with_name(newest.parent.name + ".damaged").exists()  # replaced by a whole one

    for file in run.checkpoints("pretrain").glob("step_*/state.json"):
        os.truncate(file, 10)
    refused = train(run)
    assert refused.returncode == 5
    assert refused.stderr.count("\n") == 1
    assert "is whole" in refused.stderr
    assert len(list(run.checkpoints("pretrain").glob("step_*"))) == 2  # nothing was moved or removed
