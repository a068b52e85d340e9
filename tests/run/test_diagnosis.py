"""Live advice: each symptom is found with its number, and a healthy run gets none."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.layers import with_changes
from engine.core import formatting
from engine.core.diagnostic import Diagnostic
from engine.diagnostics.live import diagnose
from engine.diagnostics.situation import gpu_of
from engine.diagnostics.throughput_rules import larger_batch
from engine.events.history import History
from engine.events.kinds import Diverged, OutOfMemory, Warning
from engine.events.spikes import SPIKE, WINDOW
from engine.hardware.gpu_catalog import by_id
from engine.plan import memory
from engine.plan.batch import tokens_per_step
from engine.plan.shape import shape_of
from tests.helpers.made_run import Story, config_of, plan_of, story_of

NOW = 1_800_000_000.0


def healthy(**changes: object) -> Story:
    """A run whose device batch cannot grow, so that nothing is to be said of it."""
    changes = {"batch__device_batch_size": 16, "model__max_seq_len": 2048, "model__depth": 16} | changes
    return story_of("red", NOW, **changes)


def found(story: Story) -> dict[str, Diagnostic]:
    history = History()
    for event in story.events:
        history.apply(event)  # type: ignore[arg-type]
    return {finding.code: finding for finding in diagnose(history, story.plan, story.config, story.now + 1)}


def test_a_healthy_run_gets_no_advice() -> None:
    assert found(healthy().steps(300)) == {}


def test_nothing_is_said_before_the_first_step_or_without_a_plan() -> None:
    story = healthy()
    history = History()
    assert diagnose(history, story.plan, story.config, NOW) == []
    for event in story.steps(20).events:
        history.apply(event)  # type: ignore[arg-type]
    assert diagnose(history, None, story.config, NOW) == []
    assert diagnose(history, story.plan, None, NOW) == []


def test_the_loss_of_a_policy_is_not_judged_and_its_speed_is_not_pretrainings() -> None:
    story = healthy().steps(300).end_stage("pretrain").stage("rl").device("rl").rewards(300)
    assert found(story) == {}


def test_slow_beyond_the_plans_range() -> None:
    story = healthy()
    planned = story.plan.time.tokens_per_second or 0.0
    slow = found(story.steps(80, tokens_per_second=planned * 0.6))["slow"]
    assert "60 % of the" in slow.message
    assert slow.severity == "warning"
    hours = story.plan.time.hours or 0.0
    speeds = (formatting.duration(3600 * value) for value in (hours / 0.6, hours))
    assert slow.effect == "at this speed {}, planned {}".format(*speeds)
    inside = healthy().steps(80, tokens_per_second=planned * 0.95)
    assert "slow" not in found(inside)


def test_far_below_the_plan_is_worth_a_word_however_wide_its_range() -> None:
    """On a device that nothing was published of, 68 % of the speed lies within the plan's range."""
    story = healthy()
    time = msgspec.structs.replace(story.plan.time, high_hours=2 * (story.plan.time.hours or 0.0))
    story.plan = msgspec.structs.replace(story.plan, time=time)
    planned = time.tokens_per_second or 0.0
    said = found(story.steps(80, tokens_per_second=planned * 0.68))["slow"]
    assert (said.severity, "68 % of the" in said.message) == ("note", True)
    assert "slow" not in found(story.steps(200, tokens_per_second=planned * 0.8))


def test_a_pretraining_that_took_longer_than_the_plans_range_is_told_in_later_stages_too() -> None:
    story = healthy().steps(80)
    assert "late" not in found(story)
    most = 3600 * (story.plan.time.high_hours or 0.0)
    story.now += most
    said = found(story.steps(80))["late"]
    assert (said.severity, said.message.startswith("pretraining has taken ")) == ("warning", True)
    assert f"at most {formatting.duration(most)}" in said.message
    story.end_stage("pretrain", seconds=1.1 * most).stage("sft").device("sft").steps(20, stage="sft")
    later = found(story)["late"]
    assert later.message.startswith(f"pretraining took {formatting.duration(1.1 * most)}; planned: ")


def test_waiting_for_data() -> None:
    seconds = healthy().step_seconds
    waits = found(healthy().steps(80, step_seconds=seconds, data_seconds=0.2 * seconds))["data_wait"]
    assert waits.message == "20 % of each step waits for data"
    assert waits.effect == "up to 25 % faster"
    assert "data_wait" not in found(healthy().steps(80, step_seconds=seconds, data_seconds=0.04 * seconds))


def test_headroom_names_a_batch_that_fits_and_keeps_the_step() -> None:
    story = story_of("red", NOW, batch__device_batch_size=1, model__max_seq_len=1024).steps(80)
    advice = found(story)["headroom"]
    bigger = with_changes(story.config, advice.change)
    assert bigger.batch.device_batch_size > 1
    assert tokens_per_step(bigger) == tokens_per_step(story.config)
    assert "% faster at" in advice.effect


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from((2, 4, 8, 12, 16, 20)),
    st.sampled_from((512, 1024, 2048)),
    st.sampled_from((1, 2, 4, 8)),
    st.floats(0.6, 1.3),
    st.sampled_from(("a100-40gb", "a100-80gb", "l4")),
)
def test_a_larger_batch_never_overflows(depth: int, length: int, batch: int, scale: float, gpu_id: str) -> None:
    config = config_of(
        "balanced",
        model__depth=depth,
        model__max_seq_len=length,
        batch__device_batch_size=batch,
        batch__total_batch_size=524_288,
    )
    gpu = by_id(gpu_id)
    offer = larger_batch(config, gpu, True, scale)
    if offer is None:
        return
    change, peak, gain = offer
    changed = with_changes(config, change)
    assert changed.batch.device_batch_size > batch
    assert tokens_per_step(changed) == tokens_per_step(config)
    assert peak == int(scale * memory.estimate(shape_of(changed), changed.batch, gpu, True).total)
    assert peak < gpu.capacity
    assert gain > 0


def test_throttling_names_reason_and_clock() -> None:
    story = healthy().steps(40)
    for _ in range(12):
        story.reading(gpu={"throttle": ["hardware thermal"], "clock": 1005, "temperature": 91})
    advice = found(story)["throttled"]
    assert "hardware thermal at 1005 of 1410 MHz, 91 °C" in advice.message
    assert advice.severity == "warning"
    assert advice.effect == "up to 40 % faster"
    assert "throttled" not in found(story.reading(gpu={"throttle": []}))


def test_another_process() -> None:
    story = healthy().steps(40).reading(gpu={"processes": 3, "used": 38.0})
    assert found(story)["shared_gpu"].message.startswith("2 other processes are on this GPU, using about ")


def test_disk_too_small_for_the_next_checkpoint() -> None:
    story = healthy().steps(40).reading(host={"disk_free": 2.0})
    advice = found(story)["disk"]
    assert advice.severity == "error"
    assert advice.change == {"checkpoint.keep_last": 1}


def test_disk_that_something_else_fills() -> None:
    story = healthy().steps(40)
    for i in range(60):
        story.now += 60
        story.reading(host={"disk_free": 400.0 - 4 * i})
    story.now += 5
    story.steps(1)
    advice = found(story)["disk"]
    assert "GiB less per hour" in advice.message
    assert advice.severity == "warning"


def test_divergence_until_it_was_passed() -> None:
    story = healthy().steps(200).checkpoint().steps(5)
    story.add(Diverged, stage="pretrain", step=206, what="loss is NaN", action="stop")
    advice = found(story)["diverged"]
    assert advice.effect == "updates half as large; restarts at step 200, 6 steps back"
    assert advice.change["optim.matrix_lr"] == story.config.optim.matrix_lr / 2
    assert "diverged" not in found(story.steps(3))
    assert found(healthy().steps(50, loss=None))["diverged"].severity == "error"


def with_spike(story: Story, height: float = 3.0) -> Story:
    """One more step, whose loss the trainer reports as a spike."""
    story.add(Warning, stage="pretrain", step=story.step + 1, code=SPIKE, message="loss 9.0, far above the mean")
    return story.steps(1, loss=story.loss_at(story.step) + height)


def test_a_spike_and_its_recovery() -> None:
    story = with_spike(healthy(optim__grad_clip=0.0).steps(700))
    advice = found(story)["loss_spike"]
    assert advice.severity == "warning" and advice.change == {"optim.grad_clip": 1.0}
    assert "loss spike at step 701: loss " in advice.message and " sigma above the mean" in advice.message
    back = found(story.steps(20))["loss_spike"]
    assert back.severity == "note" and "the loss is back at" in back.effect
    assert "loss_spike" not in found(story.steps(WINDOW))  # too long ago


def test_a_spike_is_the_trainers_to_report() -> None:
    story = healthy().steps(700)
    assert "loss_spike" not in found(story.steps(1, loss=story.loss_at(story.step) + 3))


def test_a_spike_whose_window_is_lost_is_told_in_the_trainers_words() -> None:
    advice = found(with_spike(healthy().steps(10)))["loss_spike"]
    assert advice.message == "loss spike at step 11: loss 9.0, far above the mean"
    assert advice.effect == "updates half as large"


def test_a_spike_on_steps_that_were_redone_is_forgotten() -> None:
    story = with_spike(healthy().steps(200)).steps(5)
    assert "loss_spike" in found(story)
    assert "loss_spike" not in found(story.resume_at(150).steps(60))


def test_an_outlier_within_six_sigma_is_no_spike() -> None:
    assert "loss_spike" not in found(healthy().steps(2000))


def test_memory_that_ran_out_without_ending_the_run() -> None:
    story = healthy().steps(40)
    story.add(
        OutOfMemory,
        stage="pretrain",
        step=40,
        phase="forward and backward",
        requested=None,
        allocated=story.plan.memory.capacity,
        capacity=story.plan.memory.capacity,
        action="replaying the same batch with 8 sequences at a time",
    )
    advice = found(story.steps(5))["out_of_memory"]
    assert "with 8 sequences at a time" in advice.message
    assert advice.change
    with_changes(story.config, advice.change)
    story.end_stage("pretrain", "stopped").end("stopped").start("red", resumed=True).stage("pretrain").steps(2)
    assert "out_of_memory" not in found(story)


def test_what_the_stage_warned_of() -> None:
    story = healthy().steps(40)
    story.add(Warning, stage="pretrain", step=40, code="checkpoint_failed", message="the disk is full; trying again")
    assert found(story.steps(2))["checkpoint_failed"].message == "step 40: the disk is full; trying again"


def test_few_tokens_names_the_setting_that_was_used() -> None:
    for budget, key in (
        ({"budget__steps": 5000}, "budget.steps"),
        ({"budget__tokens": 10**9}, "budget.tokens"),
        ({"budget__tokens_per_param": 5.0}, "budget.tokens_per_param"),
    ):
        story = healthy(**budget).steps(20)
        advice = found(story)["few_tokens_per_param"]
        assert list(advice.change) == [key]
        changed = plan_of(with_changes(story.config, advice.change))
        assert changed.tokens_per_param == pytest.approx(20, rel=0.01)


def test_a_smoke_test_is_not_advised_to_train_for_hours() -> None:
    advice = found(healthy(budget__steps=100).steps(20))["few_tokens_per_param"]
    assert (advice.severity, advice.change, advice.advice) == ("note", None, "nothing to change for a test")
    assert "smoke test only: 0.078 tokens per parameter, about 20 are needed" in advice.message


def test_repeated_text() -> None:
    story = healthy().steps(100).steps(1, epoch=1)
    assert found(story)["repeated_epochs"].severity == "note"
    assert found(story.steps(1, epoch=7))["repeated_epochs"].severity == "warning"


def test_a_finished_run_is_not_told_about_its_machine() -> None:
    story = healthy().steps(80, tokens_per_second=10.0).reading(gpu={"processes": 3}, host={"disk_free": 0.5})
    codes = found(story.end_stage("pretrain").end())
    assert not {"slow", "shared_gpu", "disk", "throttled", "data_wait"} & set(codes)


def test_the_plans_device_is_found_again() -> None:
    for gpu in (by_id("a100-40gb"), by_id("l4")):
        config = config_of()
        assert gpu_of(plan_of(config, gpu)) == gpu
