"""The time of a run is its time at work: resumed stages add up, pauses do not count."""

import re

import pytest

from engine.events.attempts import WorkClock, of_last_pass, seconds_at_work
from engine.events.history import History
from engine.events.kinds import StageAnew
from engine.hardware.versions import versions
from tests.helpers.made_run import story_of

NOW = 1_800_000_000.0


def told(story: object) -> History:
    history = History()
    history.apply_all(story.events)  # type: ignore[attr-defined]
    return history


def test_a_resumed_stage_adds_up_without_the_pause() -> None:
    story = story_of("red", NOW).steps(3).end_stage("pretrain", "stopped", seconds=100.0).end("stopped")
    story.now += 86_400
    story.start("red", resumed=True).stage("pretrain").resume_at(3).steps(3).end_stage("pretrain", seconds=50.0)
    history = told(story.end())
    own = of_last_pass(history.attempts, "pretrain")
    assert [attempt.outcome for attempt in own] == ["stopped", "done"]
    assert seconds_at_work(own, history.last_time) == 150.0
    clock = WorkClock(history.attempts, history.last_time)
    first, second = (span for span in clock.spans if span[0] == "pretrain")
    assert first[2] == second[1] and second[2] - first[1] == 150.0
    assert clock.at([own[0].started + 10, own[1].started - 1000, own[1].started + 10]) == [
        pytest.approx(first[1] + 10),
        first[2],
        pytest.approx(second[1] + 10),
    ]
    assert clock.at([0.0]) == [0.0]


def test_an_end_without_a_word_counts_up_to_the_last_event() -> None:
    story = story_of("red", NOW).steps(3)
    began, last = told(story).attempts[-1].started, story.now
    story.now += 5000
    history = told(story.start("red", resumed=True).stage("pretrain").resume_at(0))
    silent, at_work = of_last_pass(history.attempts, "pretrain")
    assert silent.seconds == pytest.approx(last - began) and silent.outcome is None
    assert at_work.seconds is None
    assert seconds_at_work([at_work], history.last_time) == pytest.approx(3.0)


def test_what_was_done_before_or_given_up_does_not_count() -> None:
    story = story_of("red", NOW).end_stage("pretrain", seconds=7.0).stage("pretrain").end_stage("pretrain", seconds=5.0)
    assert seconds_at_work(of_last_pass(told(story).attempts, "pretrain"), None) == 5.0
    story.stage("pretrain").end_stage("pretrain", "crashed", seconds=2.0)
    story.add(StageAnew, stage="pretrain", path="").stage("pretrain").end_stage("pretrain", seconds=3.0)
    assert seconds_at_work(of_last_pass(told(story).attempts, "pretrain"), None) == 3.0


def test_versions_tell_what_is_known() -> None:
    found = versions()
    assert re.fullmatch(r"3\.\d+\.\d+\S*", found["python"])
    assert found["platform"]
    assert all(found.values())
    assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", found.get("commit", "0123456"))
