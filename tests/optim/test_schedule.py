"""Schedules as functions of the step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.optim.schedule import learning_rate_scale, muon_momentum


def test_constant_then_linear_to_zero() -> None:
    scales = [learning_rate_scale(step, 100, 0, 0.2, 0.0) for step in range(100)]
    assert scales[:81] == [1.0] * 81
    assert scales[90] == pytest.approx(0.5)
    assert scales[99] == pytest.approx(1 / 20)  # step 100 would be the one at 0


def test_final_fraction_is_where_the_fall_leads() -> None:
    assert learning_rate_scale(90, 100, 0, 0.2, 0.1) == pytest.approx(0.55)
    assert learning_rate_scale(100, 100, 0, 0.2, 0.1) == pytest.approx(0.1)


def test_warmup_is_linear_and_never_zero() -> None:
    assert [learning_rate_scale(step, 100, 4, 0.0, 0.0) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@given(
    steps=st.integers(1, 300),
    warmup=st.integers(0, 400),
    fraction=st.floats(0, 1),
    final=st.floats(0, 1),
    data=st.data(),
)
def test_every_step_has_a_rate_above_zero(
    steps: int, warmup: int, fraction: float, final: float, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < learning_rate_scale(step, steps, warmup, fraction, final) <= 1


def test_momentum_rises_to_its_end() -> None:
    assert muon_momentum(0, 0.85, 0.95, 300) == 0.85
    assert muon_momentum(150, 0.85, 0.95, 300) == pytest.approx(0.9)
    assert muon_momentum(300, 0.85, 0.95, 300) == muon_momentum(9999, 0.85, 0.95, 300) == pytest.approx(0.95)
    assert muon_momentum(0, 0.85, 0.95, 0) == pytest.approx(0.95)
