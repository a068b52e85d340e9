"""What is said of a run that ran out of memory: at least what it needed, and ways out that count on no less."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.layers import with_changes
from engine.core.units import GIB
from engine.diagnostics.oom import PostMortem, post_mortem, ran_out
from engine.events.history import History
from engine.events.kinds import OutOfMemory
from engine.hardware.gpu_catalog import by_id
from tests.helpers.made_run import Story, config_of, plan_of, story_of


def judged(story: Story) -> PostMortem:
    history = History()
    history.apply_all(story.events)  # type: ignore[arg-type]
    assert ran_out(history)
    return post_mortem(history, story.plan, story.config)


def ended() -> Story:
    return story_of("full", time.time()).steps(60).checkpoint().steps(4)


def test_the_failing_allocation_and_the_way_back() -> None:
    story = ended().out_of_memory()
    found = judged(story)
    assert (found.step, found.phase, found.checkpoint) == (64, "backward of the loss", 60)
    assert found.requested == int(3.1 * GIB) and found.allocated == int(36.9 * GIB)
    assert found.predicted == story.plan.memory
    assert found.needed == found.requested + found.allocated + story.plan.memory.overhead
    assert found.scale == pytest.approx(found.needed / story.plan.memory.total)


def test_an_end_of_which_nothing_is_known_still_needed_more_than_there_is() -> None:
    story = ended().end_stage("pretrain", "out_of_host_memory").end("out_of_host_memory")
    found = judged(story)
    assert found.needed == story.plan.memory.capacity
    assert found.requested is None and found.phase == ""
    assert found.ways


def test_without_a_plan_or_configuration_there_are_no_ways_but_no_error() -> None:
    history = History()
    history.apply_all(ended().out_of_memory().events)  # type: ignore[arg-type]
    found = post_mortem(history, None, None)
    assert found.ways == () and found.predicted is None and found.scale == 1.0


def test_a_run_that_ended_well_did_not_run_out() -> None:
    history = History()
    history.apply_all(ended().end_stage("pretrain").end().events)  # type: ignore[arg-type]
    assert not ran_out(history)


@given(
    st.sampled_from((8, 12, 16, 20)),
    st.sampled_from((1, 4, 16)),
    st.floats(0.2, 1.2),
    st.floats(0, 20),
    st.sampled_from(("a100-40gb", "l4", "rtx-4090")),
)
def test_no_way_out_counts_on_less_than_was_needed(
    depth: int, batch: int, held: float, asked: float, gpu_id: str
) -> None:
    config = config_of("balanced", model__depth=depth, batch__device_batch_size=batch)
    plan = plan_of(config, by_id(gpu_id))
    story = Story(plan, config, time.time()).start("full").stage("pretrain").device()
    event = {"requested": int(asked * GIB), "allocated": int(held * plan.memory.capacity), "action": "stop"}
    story.add(OutOfMemory, stage="pretrain", step=0, phase="x", capacity=plan.memory.capacity, **event)
    found = judged(story.end_stage("pretrain", "out_of_memory").end("out_of_memory"))
    assert found.scale >= 1
    assert found.needed is not None and found.needed >= plan.memory.capacity
    assert [way.fits for way in found.ways] == sorted((way.fits for way in found.ways), reverse=True)
    for way in found.ways:
        changed = plan_of(with_changes(config, way.change), by_id(gpu_id))
        assert way.peak == pytest.approx(found.scale * changed.memory.total, rel=1e-6)
