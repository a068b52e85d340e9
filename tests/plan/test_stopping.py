"""How long a stop takes, from the plan of a long step, and which notices of spot machines that does not fit."""

import msgspec
import pytest

from engine.config.layers import from_dict
from engine.hardware.gpu_catalog import by_id, cpu
from engine.plan.duration import Duration
from engine.plan.plan import Plan, make_plan
from engine.plan.presets import load_preset
from engine.plan.stopping import short_notices, stop_seconds


def time_of(training: float) -> Duration:
    unknown = dict.fromkeys(
        ("low_hours", "hours", "high_hours", "tokens_per_second", "mfu", "step_seconds", "energy_kwh", "cost")
    )
    return Duration(**unknown, parts={"training": training}, basis="")


@pytest.mark.parametrize(
    ("accumulation", "on_gpu", "seconds"),
    [(20, False, 5 + 10), (20, True, 2 * 5 + 10), (1, True, 100 + 10)],
)
def test_a_stop_waits_for_micro_batches_and_not_for_the_step(accumulation: int, on_gpu: bool, seconds: float) -> None:
    assert stop_seconds(time_of(700.0), 7, accumulation, 10.0, on_gpu=on_gpu) == pytest.approx(seconds)


def test_what_is_not_known_is_not_said() -> None:
    unknown = msgspec.structs.replace(time_of(0.0), parts={})
    assert stop_seconds(unknown, 7, 1, 10.0, on_gpu=True) is None
    assert short_notices(None) == []


def test_a_step_of_minutes_does_not_make_a_stop_of_minutes() -> None:
    plan = make_plan(from_dict(load_preset("largest-80gb")), by_id("a100-80gb"))
    assert plan.time.step_seconds is not None
    assert plan.stop_seconds is not None
    assert plan.time.step_seconds > 120
    assert plan.checkpoint_seconds < plan.stop_seconds < 60


def test_notices_that_are_too_short_are_named() -> None:
    assert short_notices(29) == []
    assert short_notices(40) == ["Google Cloud and Azure (30 s)"]
    assert len(short_notices(121)) == 2


def test_a_plan_of_an_earlier_version_can_be_read() -> None:
    stored = msgspec.to_builtins(make_plan(from_dict(load_preset("quickstart")), cpu(2, 2**33)))
    assert stored.pop("stop_seconds") > 0
    assert msgspec.convert(stored, Plan).stop_seconds is None
