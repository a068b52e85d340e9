"""The series that charts show are the history's columns, however it came, and whatever it took back."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events.history import History
from engine.events.kinds import Event
from tests.helpers.made_run import Story, story_of
from tui.runs.run_series import STEP_COLUMNS, Feed


def whole() -> list[Event]:
    story = story_of("red", time.time(), evaluate__every_steps=10).steps(45)
    story.end_stage("pretrain", "stopped").end("stopped").start("red", resumed=True).stage("pretrain").resume_at(20)
    return story.steps(40, loss=2.0).events


EVENTS = whole()


def check(feed: Feed, history: History) -> None:
    columns = history.columns("pretrain")
    for name in STEP_COLUMNS:
        assert list(feed.steps[name].raw.values) == pytest.approx(list(getattr(columns, name)), nan_ok=True)
    steps, tokens, seconds = feed.steps["loss"].xs
    assert list(steps) == [float(step) for step in columns.step]
    assert list(tokens) == [float(count) for count in columns.tokens]
    assert list(seconds) == sorted(seconds)
    bpb = [e for e in history.evaluations if e.metric == "val_bpb"]
    assert list(feed.validation.raw.values) == [e.value for e in bpb]
    assert list(feed.validation.xs[0]) == [float(e.step) for e in bpb]
    assert list(feed.machine["power"].raw.values) == list(history.machine["power"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_it_follows_in_any_portions(portions: list[int]) -> None:
    history, feed, at = History(), Feed(), 0
    for portion in portions:
        history.apply_all(EVENTS[at : at + portion])  # type: ignore[arg-type]
        at += portion
        feed.update(history)
        if history.columns("pretrain"):
            check(feed, history)


def test_another_history_begins_another_generation() -> None:
    history, feed = History(), Feed()
    history.apply_all(EVENTS)  # type: ignore[arg-type]
    feed.update(history)
    before, generation = feed.steps["loss"], feed.generation
    feed.update(history)
    assert feed.generation == generation and feed.steps["loss"] is before
    other = History()
    other.apply_all(story_of("blue", time.time()).steps(3).events)  # type: ignore[arg-type]
    feed.update(other)
    assert feed.generation > generation and len(feed) == 3


def test_time_is_time_in_steps_without_the_pauses() -> None:
    story: Story = story_of("red", time.time()).steps(10, step_seconds=2.0)
    story.now += 86_400
    story.steps(10, step_seconds=2.0)
    history, feed = History(), Feed()
    history.apply_all(story.events)  # type: ignore[arg-type]
    feed.update(history)
    assert feed.steps["loss"].xs[2][-1] == pytest.approx(40.0)
