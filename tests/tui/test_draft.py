"""Draft and settings: the console lists every setting, reads typed text back, and gives the equivalent command line."""

import argparse
import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.schema import fields, get
from engine.config.setting import Setting
from engine.core.errors import UsageError
from engine.plan.presets import preset_names
from tui.cli.commands.configuration import configuration
from tui.planning.draft import Draft, command, command_line, nearest_valid, override, try_text
from tui.planning.setting_fields import edited_settings, nearest, parse, show, step, to_text, valid_values

KNOBS = {setting.path: setting for setting in edited_settings()}


def resolved_by_command_line(line: str) -> Any:
    """What the command line would run, by the command line's own code."""
    from tui.cli.parser import build_parser

    words = shlex.split(line)
    assert words[0] == "nanosolo"
    options: argparse.Namespace = build_parser().parse_args(words[1:])
    return configuration(options).config


def test_every_setting_has_a_setting_with_words() -> None:
    paths = {path for path, _ in fields() if not path.startswith("about.") and path != "runtime.gpu"}
    assert set(KNOBS) == paths
    assert all(setting.help for setting in KNOBS.values())


def test_ranges_come_from_the_configuration() -> None:
    assert valid_values(KNOBS["model.depth"]) == "1–128"
    assert valid_values(KNOBS["budget.steps"]) == "1 or more, or empty"
    assert valid_values(KNOBS["budget.tokens_per_param"]) == "above 0, at most 100,000"
    assert valid_values(KNOBS["data.shuffle"]) == "yes or no"


@pytest.mark.parametrize("name", preset_names())
def test_what_is_shown_for_editing_reads_back_as_the_value(name: str) -> None:
    config = Draft.from_preset(name).config
    for setting in KNOBS.values():
        value = get(config, setting.path)
        assert parse(setting, to_text(value)) == value
        assert show(setting, value)


WORDS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12)
EDITS = st.fixed_dictionaries(
    {},
    optional={
        "model.depth": st.sampled_from([2, 4, 12, 20]),
        "batch.device_batch_size": st.integers(1, 8),
        "optim.matrix_lr": st.floats(0, 10, allow_subnormal=False),
        "optim.grad_clip": st.floats(0, 1e9),
        "data.shuffle": st.booleans(),
        "data.text_column": WORDS,
        "data.paths": st.lists(WORDS, max_size=3).map(tuple),
        "evaluate.prompts": st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)).map(tuple),
        "budget.steps": st.none() | st.integers(1, 10**9),
        "runtime.price_per_hour": st.none() | st.floats(0, 100),
        "runtime.deterministic": st.booleans(),
        "runtime.compile": st.sampled_from(["auto", "on", "off"]),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    preset=st.sampled_from(["quickstart", "balanced", "reference"]),
    edits=EDITS,
    gpu=st.none() | st.sampled_from(["cpu", "auto", "a100-40gb", "h200"]),
)
def test_the_command_line_runs_exactly_the_draft(preset: str, edits: dict[str, Any], gpu: str | None) -> None:
    edits = {**edits, "batch.total_batch_size": 1 << 20}
    draft = Draft.from_preset(preset).edit(edits)
    if gpu is not None:
        draft = draft.on_gpu(gpu)
    assert resolved_by_command_line(command_line(command(draft, "a-name"))) == draft.config


def test_a_plain_preset_needs_no_more_than_its_name() -> None:
    assert command(Draft.from_preset("maximum"), "m1") == ["nanosolo", "--preset", "maximum", "--name", "m1"]


def test_not_set_is_written_none() -> None:
    draft = Draft.from_preset("quickstart").edit({"budget.steps": None})
    assert "budget.steps=none" in command(draft, "")
    assert override("budget.steps", None) == "budget.steps=none"


@pytest.mark.parametrize("setting", list(KNOBS.values()), ids=lambda setting: setting.path)
@given(text=st.one_of(st.text(max_size=12), st.integers().map(str), st.floats().map(str)))
@settings(max_examples=25, deadline=None)
def test_typing_gives_a_valid_draft_or_one_line_and_a_nearest_valid_value(setting: Setting, text: str) -> None:
    draft = Draft.from_preset("balanced")
    changed, fault = try_text(draft, setting, text)
    if changed is not None:
        assert fault == "" and get(changed.config, setting.path) == parse(setting, text)
        return
    assert fault
    changes = nearest_valid(draft, setting, text)
    if changes is not None:
        draft.edit(changes)  # raises if the edit is not valid


@pytest.mark.parametrize(
    ("path", "text", "changes"),
    [
        ("model.depth", "0", {"model.depth": 1}),
        ("model.depth", "999", {"model.depth": 128}),
        ("model.depth", "14.6", {"model.depth": 15}),
        ("batch.device_batch_size", "9999", {"batch.device_batch_size": 170}),
        ("batch.total_batch_size", "100", {"batch.total_batch_size": 6144}),
        ("data.source", "fineweb", {"data.source": "fineweb-edu"}),
        ("optim.warmdown_fraction", "1.5", {"optim.warmdown_fraction": 1.0}),
        ("optim.adam_beta1", "1.5", None),  # below 1 there is no nearest one
        ("model.depth", "abc", None),
    ],
)
def test_the_nearest_valid_value(path: str, text: str, changes: dict[str, Any] | None) -> None:
    assert nearest_valid(Draft.from_preset("balanced"), KNOBS[path], text) == changes


def test_steps_and_tokens_give_way_to_each_other() -> None:
    draft = Draft.from_preset("balanced").edit({"budget.steps": 10})
    assert try_text(draft, KNOBS["budget.tokens"], "1000")[0] is None
    assert nearest_valid(draft, KNOBS["budget.tokens"], "1000") == {"budget.tokens": 1000, "budget.steps": None}


@pytest.mark.parametrize("setting", [k for k in KNOBS.values() if k.kind in ("int", "float")], ids=lambda k: k.path)
@pytest.mark.parametrize("direction", [1, -1])
def test_stepping_stays_in_range_and_moves(setting: Setting, direction: int) -> None:
    value = get(Draft.from_preset("balanced").config, setting.path)
    for _ in range(60):
        moved = step(setting, value, direction)
        if moved is None:
            assert value is None  # not set: there is nothing to step from
            return
        assert setting.contains(moved)
        assert (moved - (value or 0)) * direction >= 0
        value = moved


def test_an_edit_to_the_value_it_had_is_none() -> None:
    draft = Draft.from_preset("balanced")
    assert draft.edit({"model.depth": 14}).edits == {}
    assert draft.edit({"model.depth": 12}).origins["model.depth"] == "edited"
    assert draft.edit({"model.depth": 12}).reset("model.depth") == draft
    assert list(draft.edit({"model.depth": 12}).changes()) == [("model.depth", 14, 12)]


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean balanced"):
        Draft.from_preset("blanced")


def test_nearest_of_a_word_for_a_number_is_nothing() -> None:
    assert nearest(KNOBS["runtime.seed"], "seven") is None
