"""Curves stay small however long the run was, and keep what stands out: spikes, gaps, both ends."""

import math
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events.kinds import Step, System
from engine.report.curves import curves_section
from engine.report.draw import Line, Panel, draw
from engine.report.source import read_source
from engine.report.thin import envelope, every, smooth
from engine.stages.report import render
from tests.helpers.made_run import story_of, write_run

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=0, max_size=400)


@given(VALUES, st.integers(1, 40))
def test_an_envelope_keeps_extremes_gaps_and_order(values: list[float], buckets: int) -> None:
    xs, ys = envelope(range(len(values)), values, buckets)
    assert len(ys) <= max(3 * buckets, 0)
    assert xs == sorted(set(xs))
    for x, y in zip(xs, ys, strict=True):
        assert y == values[int(x)] or (math.isnan(y) and math.isnan(values[int(x)]))
    numbers = [value for value in values if not math.isnan(value)]
    kept = [value for value in ys if not math.isnan(value)]
    if numbers:
        assert (min(kept), max(kept)) == (min(numbers), max(numbers))
    assert any(map(math.isnan, ys)) == any(map(math.isnan, values))


def test_one_spike_and_one_gap_in_many_steps_stay() -> None:
    values = [1.0] * 200_000
    values[123_456], values[77_777] = 9.0, math.nan
    xs, ys = envelope(range(len(values)), values)
    assert 123_456 in xs and max(y for y in ys if not math.isnan(y)) == 9.0
    assert 77_777 in xs and sum(map(math.isnan, ys)) == 1
    assert len(ys) < 1500


@given(VALUES)
def test_smoothing_stays_within_the_values_and_passes_over_gaps(values: list[float]) -> None:
    found = smooth(values)
    numbers = [value for value in values if not math.isnan(value)]
    assert len(found) == len(values)
    for value in found:
        if not math.isnan(value):
            assert min(numbers) - 1e-3 <= value <= max(numbers) + 1e-3
    assert all(math.isnan(value) for value in found) or numbers


@given(st.lists(st.integers(), max_size=300), st.integers(1, 50))
def test_every_keeps_both_ends(values: list[int], most: int) -> None:
    found = every(values, most)
    assert (found[:1], found[-1:]) == (values[:1], values[-1:])
    assert len(found) <= 2 * most + 1


def test_a_gap_parts_the_line() -> None:
    values = [1.0, 2.0, math.nan, 3.0, 2.0]
    whole = draw([Panel("x", "y", (Line(range(5), [1.0, 2.0, 2.5, 3.0, 2.0], "#1d5fae"),))], "a").decode()
    parted = draw([Panel("x", "y", (Line(range(5), values, "#1d5fae"),))], "a").decode()

    def moves(svg: str) -> int:
        return next(
            path.count("M") for path in svg.split('d="')[1:] if "stroke: var(--accent)" in path.partition(">")[0]
        )

    assert (moves(whole), moves(parted)) == (1, 2)


@pytest.mark.parametrize("values", [[], [math.nan], [0.0], [-1.0, 5.0], [1e300, 1e-300], [1e9] * 3, [0.0, 1e-12]])
def test_any_values_can_be_drawn(values: list[float]) -> None:
    for from_zero, may_be_log in ((True, False), (False, True)):
        panel = Panel("x", "y", (Line(range(len(values)), values, "#1d5fae", "a"),), from_zero=from_zero)
        svg = draw([panel._replace(may_be_log=may_be_log)], "a").decode()
        assert svg.startswith("<svg viewBox=") and svg.rstrip().endswith("</svg>")


def test_a_run_of_200_000_steps_has_a_small_page(tmp_path: Path) -> None:
    story = story_of("long", time.time(), budget__steps=200_000, evaluate__every_steps=1000).steps(1).reading()
    step, reading = (next(e for e in story.events if isinstance(e, kind)) for kind in (Step, System))
    story.evaluate().sample()
    run = write_run(tmp_path, "long", story)
    with run.events_file.open("ab") as file:
        line = msgspec.json.encode(step)
        machine = msgspec.json.encode(msgspec.structs.replace(reading, t=step.t + 4))
        assert b'"step":1,' in line
        for number in range(2, 200_001):
            loss = b"null" if number % 5000 == 0 else b"%.4f" % (2 + 9 / number + (number * 7919 % 100) / 500)
            now = line.replace(b'"step":1,', b'"step":%d,' % number)
            now = now.replace(b'"tokens":%d,' % step.tokens, b'"tokens":%d,' % (step.tokens * number))
            file.write(now.replace(b'"loss":%s,' % str(step.loss).encode(), b'"loss":%s,' % loss) + b"\n")
            if number % 5 == 0:
                file.write(machine + b"\n")
    text = render(run)
    assert "at step 200,000" not in text and "200,000 steps" in text
    assert run.page_file.stat().st_size < 400_000
    assert (run.path / "curves.svg").stat().st_size < 300_000


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    story = story_of("new", time.time())
    assert curves_section(read_source(write_run(tmp_path, "new", story))) is None
