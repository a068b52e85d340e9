"""Numbers in words: short, in order, and never a lie by rounding."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.run import words

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SECONDS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
SCALES = {"": 1, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@pytest.mark.parametrize("word", [words.duration, words.size, words.count, words.percent])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_known_is_a_question_mark(word, value) -> None:  # type: ignore[no-untyped-def]
    assert word(value) == "?"


@given(st.floats(0, 1e8))
def test_a_duration_says_what_it_is(seconds: float) -> None:
    text = words.duration(seconds)
    parts = re.findall(r"([\d.]+) (ms|s|m|h|d)", text)
    assert " ".join(f"{number} {unit}" for number, unit in parts) == text
    assert 1 <= len(parts) <= 2
    said = sum(float(number) * SECONDS[unit] for number, unit in parts)
    assert said == pytest.approx(seconds, rel=0.06, abs=1e-3)
    assert "60 s" not in text.replace("160 s", "")


@given(st.integers(0, 2**50))
def test_a_size_says_what_it_is(size: int) -> None:
    text = words.size(size)
    number, unit = text.split()
    assert float(number) * UNITS[unit] == pytest.approx(size, rel=0.01, abs=0.51 * UNITS[unit])
    assert len(text) <= 9


@given(st.integers(-(10**15), 10**15))
def test_a_count_has_three_figures(number: int) -> None:
    match = re.fullmatch(r"(-?[\d.]+)([kMBT]?)", words.count(number))
    assert match is not None
    assert float(match[1]) * SCALES[match[2]] == pytest.approx(number, rel=0.0051, abs=0.5)
    assert len(match[1].strip("-").replace(".", "")) <= 4


@given(st.lists(st.floats(0, 1e7), min_size=2, max_size=2))
def test_more_never_reads_as_less(pair: list[float]) -> None:
    small, large = sorted(pair)
    assert _number(words.count(small)) <= _number(words.count(large))


def _number(text: str) -> float:
    match = re.fullmatch(r"([\d.e-]+)([kMBT]?)", text)
    assert match is not None
    return float(match[1]) * SCALES[match[2]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0854, "85 ms"), (4.2, "4.2 s"), (59.7, "60 s"), (185, "3 m 05 s"), (25_920, "7 h 12 m"), (216_000, "2 d 12 h")],
)
def test_durations_as_examples(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(("amount", "text"), [(15.477, "15.48"), (1234.5, "1,234.50"), (0, "0.00"), (None, "?")])
def test_money_as_examples(amount: float | None, text: str) -> None:
    assert words.money(amount) == text
