"""A small part of what bench/fuzz.py feeds: damaged and hostile files find no reader unprepared."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "bench"))

import fuzz
from fuzz_mutation import mutate
from fuzz_targets import TARGETS, Target

INPUTS = 250


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_finds_a_reader_unprepared(name: str) -> None:
    found = fuzz.run(name, INPUTS, seed=1)
    assert found["faults"] == []
    assert found["inputs"] == INPUTS


def test_a_fault_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(data: bytes) -> None:
        if b"\x00" in data:
            raise KeyError("unprepared")

    monkeypatch.setitem(fuzz.TARGETS, "broken", lambda _: Target(10, [b"some text"], read))
    found = fuzz.run("broken", INPUTS, seed=1)
    assert 0 < found["faulty"] < INPUTS
    assert "KeyError" in found["faults"][0]["error"]


def test_a_hang_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(data: bytes) -> None:
        while True:
            pass

    monkeypatch.setattr(fuzz, "SECONDS", 0.05)
    monkeypatch.setitem(fuzz.TARGETS, "endless", lambda _: Target(1, [b"x"], read))
    assert "TooSlow" in fuzz.run("endless", 1, seed=1)["faults"][0]["error"]


def test_inputs_differ_from_their_seed_and_come_again() -> None:
    seeds = [b'{"a": [1, 2, {"b": "c"}]}', b"[model]\ndepth = 3\n"]
    first, second = ([mutate(fuzz.random.Random(seed), seeds) for seed in range(200)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 150
