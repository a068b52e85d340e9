"""What is said of a run in one line, for every state that a run can be in."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.schema import Stage
from engine.config.stages import MODEL_STAGES
from engine.events.history import History
from engine.events.kinds import Device, Event, Progress, StageStarted, Step
from engine.run.status import STAGE_WORDS, damaged, remaining_seconds, run_status
from tests.helpers.made_run import Story, story_of

NOW = 1_800_000_000.0


def told(story: Story) -> History:
    history = History()
    for event in story.events:
        history.apply(event)
    return history


def say(story: Story, state: str = "running", later: float = 0.9) -> str:
    return run_status("red", state, told(story), story.now + later, story.config).text


def test_a_run_that_steps() -> None:
    story = story_of("red", NOW).steps(812, machine=False)
    text = say(story)
    assert text.startswith(f"running, step 812/{story.plan.steps:,}, last step 900 ms ago, ")
    assert text.endswith(" left")


def test_what_is_left_counts_evaluations_and_checkpoints() -> None:
    plain = told(story_of("red", NOW).steps(600, evaluations=False, machine=False))
    story = story_of("red", NOW)
    for _ in range(60):
        story.steps(10, machine=False).evaluate()
    evaluated = told(story)
    without, including = remaining_seconds(plain), remaining_seconds(evaluated)
    assert without is not None and including is not None
    each = story.step_seconds * 10
    assert including / without == pytest.approx((each + 12) / each, rel=0.05)


def test_what_is_left_is_the_same_where_only_the_first_and_the_last_steps_were_read() -> None:
    story = story_of("red", NOW).steps(600, machine=False)
    whole = remaining_seconds(told(story))
    story.events = [event for event in story.events if not (isinstance(event, Step) and 20 < event.step < 580)]
    assert remaining_seconds(told(story)) == pytest.approx(whole, rel=0.05)


def test_silence_is_explained() -> None:
    first = story_of("red", NOW)
    assert "no step yet, started 6.0 s ago" in say(first, later=2.0)
    assert "compiling" in say(first, later=70)
    assert ": compiling?" in say(story_of("red", NOW).steps(1), later=240)
    at_evaluation = story_of("red", NOW, evaluate__every_steps=40).steps(40, evaluations=False)
    assert "no step for 2 m 00 s: evaluating?" in say(at_evaluation, later=120)
    slow = story_of("red", NOW).steps(41, step_seconds=2.8)
    assert "no step for 2 m 00 s: usually 2.8 s" in say(slow, later=120)
    doing = story_of("red", NOW).steps(41).add(Progress, 30, stage="pretrain", done=12, total=80, unit="batches")
    assert "12 of 80 batches" in say(doing, later=40)


@pytest.mark.parametrize("stage", get_args(Stage))
def test_each_stage_has_words_of_its_own_from_its_start_to_its_first_step(stage: str) -> None:
    history = History()
    history.apply(StageStarted(t=NOW, stage=stage, pid=1, argv=[]))
    doing = STAGE_WORDS[stage]
    loading = run_status("red", "running", history, NOW + 25).text
    if stage in MODEL_STAGES:
        assert loading == f"running, {doing}: no step yet, started 25 s ago: loading?"
        device = {"device": "cuda", "name": "A100", "torch": "2", "grad_accum_steps": 1, "device_batch_size": 1}
        history.apply(Device(t=NOW + 1, stage=stage, compiled=True, **device))
        assert "started 25 s ago: compiling" in run_status("red", "running", history, NOW + 25).text
    else:
        assert loading == f"running, {doing} for 25 s"


def test_every_stage_and_no_other_has_words() -> None:
    assert set(STAGE_WORDS) == set(get_args(Stage)) and len(set(STAGE_WORDS.values())) == len(STAGE_WORDS)


def test_downloads_have_a_rate_and_an_end() -> None:
    story = Story(story_of("red", NOW).plan, story_of("red", NOW).config, NOW).start("red").stage("data")
    story.add(Progress, 1, stage="data", done=5_000_000_000, total=9_000_000_000, unit="bytes")
    assert say(story) == "running, downloading: 4.7 GiB of 8.4 GiB"
    story.add(Progress, 10, stage="data", done=6_000_000_000, total=9_000_000_000, unit="bytes")
    assert say(story) == "running, downloading: 5.6 GiB of 8.4 GiB, 95 MiB/s, 30 s left"
    story.add(Progress, 10, stage="data", done=12, total=98, unit="shards")
    story.add(Progress, 10, stage="data", done=22, total=98, unit="shards")
    assert say(story) == "running, downloading: 22 of 98 shards, 1 shards/s, 1 m 16 s left"
    story.add(Progress, 1, stage="data", done=0, total=0, unit="bytes (waiting for another download)")
    assert say(story) == "running, downloading: waiting for another download"


def test_ends() -> None:
    def at_100() -> Story:
        return story_of("red", NOW).steps(100)

    assert say(at_100().end_stage("pretrain", "stopped").end("stopped"), "stopped") == (
        "stopped after step 100, resume with: nanosolo resume red"
    )
    finished = say(at_100().evaluate().end_stage("pretrain").end(), "finished")
    assert finished.startswith("finished, 100 steps, in ") and "bits per byte" in finished
    tuned = at_100().evaluate().end_stage("pretrain").stage("sft").steps(9, stage="sft", step=9, evaluations=False)
    assert say(tuned.end_stage("sft").end(), "finished").startswith("finished, 100 steps, in ")
    crash = at_100().end_stage("pretrain", "crashed").end("crashed", "RuntimeError:\n  no kernel image")
    assert say(crash, "failed") == (
        "failed after step 100: the stage crashed: RuntimeError: no kernel image; resume with: nanosolo resume red"
    )
    oom = at_100().checkpoint().out_of_memory()
    assert say(oom, "failed").endswith("resume with: nanosolo resume red, from step 100")
    assert "the runner exited unexpectedly" in say(at_100(), "failed")
    refused = say(story_of("red", NOW).stage("data").end_stage("data", "refused").end("refused", "no text"), "failed")
    assert refused == "failed: refused: no text; correct that and start a new run"  # there is nothing to resume
    kept = say(at_100().checkpoint().end_stage("pretrain", "refused").end("refused", "no text"), "failed")
    assert kept.endswith("no text; correct that, then resume with: nanosolo resume red, from step 100")
    assert damaged("run.toml: no such file").text == "damaged: run.toml: no such file"


def test_other_hosts_orphans_and_stalls() -> None:
    story = story_of("red", NOW).steps(50)
    story.events[0] = type(story.events[0])(name="red", version="0.1.0", host="gpu-7", pid=1, t=NOW)  # type: ignore[call-arg]
    assert say(story, "elsewhere", 5) == "running on gpu-7 at step 50, read from here"
    assert say(story, "elsewhere", 7200) == (
        "last event from gpu-7 2 h 00 m ago at step 50; if that machine is down: nanosolo resume red"
    )
    assert say(story, "orphaned").startswith("runner died, training continues: step 50/")
    assert say(story, "stalled", 900).startswith("stalled at step 50: no step for 15 m 00 s, usually ")


def test_a_run_without_events() -> None:
    for state in ("new", "running", "stalled", "orphaned", "elsewhere", "finished", "stopped", "failed"):
        said = run_status("red", state, History(), NOW)
        assert said.text and "\n" not in said.text


@given(st.data())
def test_any_order_of_events_gives_one_line(data: st.DataObject) -> None:
    story = story_of("red", NOW).steps(4).evaluate().checkpoint().out_of_memory()
    events: list[Event] = data.draw(st.lists(st.sampled_from(story.events), max_size=20))
    history = History()
    for event in events:
        history.apply(event)  # type: ignore[arg-type]
    state = data.draw(st.sampled_from(("new", "running", "stalled", "orphaned", "elsewhere", "finished", "failed")))
    now = data.draw(st.floats(-1e18, 1e18))
    assert "\n" not in run_status("red", state, history, now, story.config).text


def test_a_total_that_is_an_upper_bound_is_called_one() -> None:
    story = story_of("red", NOW).stage("tokenizer")
    story.add(Progress, stage="tokenizer", done=4_250, total=20_000_000, unit="characters")
    assert "4.25k of at most 20.0M characters" in say(story)
    story.add(Progress, stage="tokenizer", done=2_960_000, total=2_960_000, unit="characters")
    assert "2.96M of 2.96M characters" in say(story)
    story.stage("chat_eval").add(Progress, stage="chat_eval", done=2612, total=2612, unit="questions")
    assert "2,612 of 2,612 questions" in say(story)


def test_nothing_is_left_of_what_is_done() -> None:
    story = story_of("red", NOW).stage("data")
    story.add(Progress, stage="data", done=10**9, total=10**10, unit="bytes")
    assert "left" in say(story.add(Progress, 100, stage="data", done=2 * 10**9, total=10**10, unit="bytes"))
    assert "left" not in say(story.add(Progress, 800, stage="data", done=10**10, total=10**10, unit="bytes"))
