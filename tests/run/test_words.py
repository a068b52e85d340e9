"""Numbers in words: short, in order, and never a lie by rounding."""

import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import formatting

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SECONDS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
SCALES = {"": 1, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@pytest.mark.parametrize("word", [formatting.duration, formatting.size, formatting.count, formatting.percent])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_known_is_a_question_mark(word, value) -> None:  # type: ignore[no-untyped-def]
    assert word(value) == "?"


@given(st.floats(0, 1e8))
def test_a_duration_says_what_it_is(seconds: float) -> None:
    text = formatting.duration(seconds)
    parts = re.findall(r"([\d.]+) (ms|s|m|h|d)", text)
    assert " ".join(f"{number} {unit}" for number, unit in parts) == text
    assert 1 <= len(parts) <= 2
    said = sum(float(number) * SECONDS[unit] for number, unit in parts)
    assert said == pytest.approx(seconds, rel=0.06, abs=1e-3)
    for number, unit in parts:  # no unit is ever full
        assert float(number) < {"ms": 1000, "s": 60, "m": 60, "h": 48, "d": math.inf}[unit]
    assert parts[0][1] != "d" or int(parts[1][0]) < 24


@given(st.integers(0, 2**50))
def test_a_size_says_what_it_is(size: int) -> None:
    text = formatting.size(size)
    number, unit = text.split()
    assert float(number) * UNITS[unit] == pytest.approx(size, rel=0.01, abs=0.51 * UNITS[unit])
    assert len(text) <= 9 and (float(number) < 1024 or unit == "TiB")


@given(st.integers(-(10**15), 10**15))
def test_a_count_has_three_figures(number: int) -> None:
    match = re.fullmatch(r"(-?[\d.]+)([kMBT]?)", formatting.count(number))
    assert match is not None
    assert float(match[1]) * SCALES[match[2]] == pytest.approx(number, rel=0.0051, abs=0.5)
    assert len(match[1].strip("-").replace(".", "")) <= 4
    assert abs(float(match[1])) < 1000 or match[2] == "T"


EDGES = [1e-3, 0.9995, 1, 9.95, 10, 59.5, 60, 999.5, 1000, 1023.5, 3600, 86_400, 172_800, 1e6, 2**20, 1e9, 2**30, 2**40]
NEAR_EDGES = st.builds(lambda edge, share: edge * (1 + share), st.sampled_from(EDGES), st.floats(-1e-3, 1e-3))


def test_a_time_of_any_length_can_be_said() -> None:
    assert formatting.duration(1e308) == "?"


def test_sizes_side_by_side_have_one_unit() -> None:
    assert formatting.sizes(1.037 * 2**30, 1002 * 2**20) == ["1062 MiB", "1002 MiB"]
    assert formatting.sizes(31.24 * 2**30, None, 9 * 2**30) == ["31.2 GiB", "?", "9.0 GiB"]
    assert formatting.sizes(None) == ["?"]


@pytest.mark.parametrize("word", [formatting.duration, formatting.size, formatting.count])
@given(st.lists(st.floats(0, 1e13) | st.floats(0, 1e7) | st.floats(0, 100) | NEAR_EDGES, min_size=2, max_size=2))
def test_more_never_reads_as_less(word: Callable[[float], str], pair: list[float]) -> None:
    small, large = sorted(pair)
    assert _number(word(small), word) <= _number(word(large), word)


def _number(text: str, word: Callable[[float], str]) -> float:
    scales = {formatting.duration: SECONDS, formatting.size: UNITS, formatting.count: SCALES}[word]
    parts = re.findall(r"([\d.]+(?:e-?\d+)?) ?([A-Za-z]*)", text)
    return sum(float(number) * scales[unit] for number, unit in parts)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.0854, "85 ms"), (4.2, "4.2 s"), (185, "3 m 05 s"), (25_920, "7 h 12 m"), (216_000, "2 d 12 h")),
        # what is as good as the next unit is said in that
        *((0.9996, "1.0 s"), (9.96, "10 s"), (59.7, "1 m 00 s"), (3599.7, "1 h 00 m"), (172_799.7, "2 d 00 h")),
    ],
)
def test_durations_as_examples(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1023, "1023 B"),
        (2**20 - 1, "1 MiB"),
        (2**30 - 1, "1.0 GiB"),
        (2**40 - 1, "1.0 TiB"),
        (99.96 * 2**30, "100 GiB"),
    ],
)
def test_sizes_as_examples(size: float, text: str) -> None:
    assert formatting.size(size) == text


@pytest.mark.parametrize(("amount", "text"), [(15.477, "15.48"), (1234.5, "1,234.50"), (0, "0.00"), (None, "?")])
def test_money_as_examples(amount: float | None, text: str) -> None:
    assert formatting.money(amount) == text


def test_ranges_rates_and_parts() -> None:
    assert formatting.hours_range(0.001, 0.002) == "4–7 s"
    assert formatting.hours_range(0.05, 0.1) == "3–6 min"
    assert formatting.hours_range(9.61, 12.83) == "9.6–12.8 h"
    assert formatting.hours_range(None, 1.0) == "not known"
    assert formatting.about_hours(15.34) == "15.3 h"
    assert formatting.about_hours(0.47) == "28 min"
    assert formatting.about_hours(0.0) == "under 1 s"
    assert formatting.about_hours(None) == "?"
    assert formatting.hours(15.34) == "15 h 20 m"
    assert formatting.rate(18_412) == "18.4k tokens/s"
    assert formatting.rate(None) == "?"
    assert formatting.part_of(7.6 * 2**30, 39.5 * 2**30) == "7.6 of 39.5 GiB"
    assert formatting.part_of(312 * 2**20, 23.5 * 2**30) == "312 MiB of 23.5 GiB"


@given(st.floats(1e-6, 1e4), st.floats(1.0, 100.0))
def test_no_range_begins_or_ends_with_zero(low: float, factor: float) -> None:
    text = formatting.hours_range(low, low * factor)
    assert not re.search(r"(^|–)0(\.0)?(–| )", text)
