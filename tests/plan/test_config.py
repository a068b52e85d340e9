"""The configuration: one source of defaults, TOML both ways, errors that name path, value, expected and nearest."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.layers import Layer, from_dict, from_toml, parse_override, read_toml, resolve, to_toml, with_changes
from engine.config.schema import RunConfig, fields, get, to_dict
from engine.config.setting import settings
from engine.config.stages import STAGES
from engine.core.errors import UsageError
from engine.plan.presets import load_preset, preset_names

DEPTHS = (1, 2, 4, 12, 20, 44)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=30)


@st.composite
def configurations(draw: st.DrawFn) -> RunConfig:
    rows, length = draw(st.integers(1, 4096)), draw(st.integers(16, 131_072))
    table: dict[str, Any] = {
        "about": {"description": draw(TEXT)},
        "model": {"depth": draw(st.sampled_from(DEPTHS)), "max_seq_len": length},
        "batch": {
            "device_batch_size": rows,
            "total_batch_size": rows * length * draw(st.integers(1, 9)),
            "activation_checkpointing": draw(st.sampled_from(("none", "selective", "block", "auto"))),
        },
        "budget": draw(
            st.one_of(
                st.fixed_dictionaries({"steps": st.integers(1, 2**62)}),
                st.fixed_dictionaries({"tokens_per_param": st.floats(1e-6, 1e5)}),
            )
        ),
        "optim": {"matrix_lr": draw(st.floats(0, 1e300)), "grad_clip": draw(st.floats(0, 10))},
        "evaluate": {"prompts": draw(st.lists(TEXT, max_size=3))},
        "data": {"source": "local", "paths": draw(st.lists(TEXT, min_size=1, max_size=3))},
    }
    return from_dict(table)


@given(configurations())
def test_toml_round_trip_is_the_identity(config: RunConfig) -> None:
    assert from_dict(from_toml(to_toml(config))) == config
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize("preset", preset_names())
def test_presets_survive_the_round_trip(preset: str) -> None:
    config = from_dict(load_preset(preset))
    assert from_dict(from_toml(to_toml(config))) == config


def test_defaults_are_valid_and_complete_in_toml() -> None:
    table = to_dict(from_dict({}))
    for path, field in fields():
        section, key = path.split(".")
        assert (key in table[section]) == (field.default is not None)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"model": {"depht": 12}}, ("model.depht = 12", "Did you mean model.depth?")),
        ({"modle": {"depth": 12}}, ("[modle]", "Did you mean model?")),
        ({"depth": 12}, ("depth = 12", "Did you mean model.depth?")),
        ({"model": {"device_batch_size": 4}}, ("Did you mean batch.device_batch_size?",)),
        ({"model": 12}, ("model = 12", "expected a table")),
        ({"model": {"depth": 0}}, ("model.depth = 0", "expected a whole number (1–128)")),
        ({"model": {"depth": "12"}}, ('model.depth = "12"', "expected a whole number")),
        ({"model": {"depth": 12.5}}, ("model.depth = 12.5", "expected a whole number")),
        ({"model": {"depth": True}}, ("model.depth = true", "expected a whole number")),
        ({"model": {"depth": 3, "max_seq_len": 2048}}, ()),
        ({"batch": {"loss": "chunkd"}}, ('batch.loss = "chunkd"', "one of", "Did you mean chunked?")),
        ({"batch": {"device_batch_size": 64, "total_batch_size": 1024}}, ("batch.total_batch_size = 1024", "131072")),
        ({"budget": {"steps": 5, "tokens": 7}}, ("budget.steps = 5", "budget.tokens = 7")),
        ({"data": {"source": "local"}}, ("data.paths",)),
        ({"optim": {"matrix_lr": float("nan")}}, ("optim.matrix_lr",)),
        ({"optim": {"matrix_lr": float("inf")}}, ("optim.matrix_lr", "finite")),
        ({"optim": {"matrix_lr": -0.1}}, ("optim.matrix_lr = -0.1", "expected a number (0 or more)")),
        ({"optim": {"adam_beta2": 1.0}}, ("optim.adam_beta2 = 1.0", "expected a number (0 or more, below 1)")),
        ({"runtime": {"seed": 2**64}}, ("runtime.seed = 18446744073709551616", "(0–4,611,686,018,427,387,903)")),
        ({"pipeline": {"stages": ["data", "data"]}}, ("pipeline.stages", "twice")),
        ({"pipeline": {"stages": ["data", "tkenize"]}}, ('pipeline.stages = "tkenize"', "Did you mean tokenize?")),
        ({"pipeline": {"stages": "dta"}}, ('pipeline.stages = "dta"', "Did you mean data?")),
        ({"data": {"paths": 5}}, ("data.paths = 5: expected a list of strings", "--set data.paths=my/text/.")),
        (
            {"data": {"paths": ""}},
            ('data.paths = "": expected a list of strings', '["my/text/", "more.jsonl"]'),
        ),
        ({"data": {"paths": ["a", 5]}}, ("data.paths = 5: expected text",)),
        ({"evaluate": {"prompts": True}}, ("evaluate.prompts = true", 'prompts = ["The capital of France is", "If')),
        ({"tokenizer": {"vocab_size": 70_000}}, ("tokenizer.vocab_size = 70000", "(266–65,536)")),
    ],
)
def test_errors_name_path_value_and_way_out(table: dict[str, Any], said: tuple[str, ...]) -> None:
    if not said:
        from_dict(table)
        return
    with pytest.raises(UsageError) as caught:
        from_dict(table)
    message = str(caught.value)
    assert "\n" not in message
    for part in said:
        assert part in message


def test_a_depth_whose_heads_do_not_divide_names_its_neighbours() -> None:
    bad = next(d for d in range(1, 128) if _refused(d))
    with pytest.raises(UsageError, match=f"Use {bad - 1} or {bad + 1}"):
        from_dict({"model": {"depth": bad}})


def _refused(depth: int) -> bool:
    try:
        from_dict({"model": {"depth": depth}})
    except UsageError:
        return True
    return False


@pytest.mark.parametrize(
    ("content", "said"), [(b"[model\n", "line 1"), (b"\xff\xfe", "UTF-8"), (b"a = 1\na = 2\n", "line 2")]
)
def test_files_that_are_no_toml(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_toml(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_toml(tmp_path / "none.toml")


@given(st.text(max_size=80))
def test_any_text_as_toml_is_a_table_or_one_line(text: str) -> None:
    try:
        from_dict(from_toml(text))
    except UsageError as error:
        assert "\n" not in str(error).strip()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("model.depth=12", 12),
        ("model.depth = 12", 12),
        ("data.source=local", "local"),
        ('data.source="local"', "local"),
        ("data.shuffle=false", False),
        ("optim.matrix_lr=2e-2", 0.02),
        ('data.paths=["a", "b c"]', ["a", "b c"]),
        ("data.text_column=a=b", "a=b"),
        ("data.paths=text/", "text/"),
        ("data.paths=a, b", "a, b"),  # a path may hold a comma
        ("data.paths=2024", "2024"),
        ("data.paths=true", "true"),
        ("evaluate.prompts=If it rains, then", "If it rains, then"),
        ("chat_eval.tasks=gsm8k, mmlu", ["gsm8k", "mmlu"]),  # a name of a task holds none
        ("pipeline.stages=data,tokenizer", ["data", "tokenizer"]),
        ("chat_eval.tasks=gsm8k", "gsm8k"),
        ('chat_eval.tasks=["gsm8k"]', ["gsm8k"]),
    ],
)
def test_overrides(text: str, value: Any) -> None:
    section, key = text.partition("=")[0].strip().split(".")
    assert parse_override(text) == {section: {key: value}}


@pytest.mark.parametrize("text", ["depth=12", "model.depth", "model.=3", ".depth=3", "a.b.c=1", ""])
def test_overrides_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected section\.key=value"):
        parse_override(text)


def test_a_list_whose_quotes_the_shell_took_is_not_taken_for_a_path() -> None:
    with pytest.raises(UsageError) as caught:
        parse_override("data.paths=[a, b]")
    assert 'Several: --set \'data.paths=["my/text/", "more.jsonl"]\'' in str(caught.value)


@pytest.mark.parametrize("path", [path for path, setting in settings().items() if setting.kind == "list"])
def test_every_list_takes_a_bare_string_in_a_file_and_on_the_command_line(path: str) -> None:
    section, key = path.split(".")
    one, two = settings()[path].example
    for table in (from_toml(f"[{section}]\n{key} = {json.dumps(one)}"), parse_override(f"{path}={one}")):
        assert get(from_dict(table), path) == (one,)
    # the error shows a form that works when it is typed
    with pytest.raises(UsageError) as caught:
        from_dict({section: {key: {}}})
    said = str(caught.value)
    typed = shlex.split(said.partition("Several: --set ")[2].partition(f", or {key} = ")[0])
    assert get(from_dict(parse_override(typed[0])), path) == (one, two)
    in_file = f"{key} = " + said.rpartition(f", or {key} = ")[2].removesuffix(f" under [{section}] in a file.")
    assert get(from_dict(from_toml(f"[{section}]\n{in_file}")), path) == (one, two)


def test_later_layers_win_and_origins_are_kept() -> None:
    resolved = resolve(
        Layer("preset", {"model": {"depth": 12, "max_seq_len": 1024}}),
        Layer("flag", {"model": {"depth": 8}}),
    )
    assert resolved.config.model.depth == 8 and resolved.config.model.max_seq_len == 1024
    assert resolved.origins["model.depth"] == "flag"
    assert resolved.origins["model.max_seq_len"] == "preset"
    assert resolved.origins["batch.loss"] == "default"


@given(st.sampled_from(DEPTHS), st.integers(1, 64))
def test_with_changes_changes_that_and_nothing_else(depth: int, rows: int) -> None:
    before = RunConfig()
    after = with_changes(before, {"model.depth": depth, "batch.device_batch_size": rows})
    changed = {path for path, _ in fields() if get(before, path) != get(after, path)}
    assert changed <= {"model.depth", "batch.device_batch_size"}
    assert (after.model.depth, after.batch.device_batch_size) == (depth, rows)


def test_choices_are_those_of_the_type() -> None:
    known = settings()
    assert known["batch.activation_checkpointing"].choices == ("none", "selective", "block", "auto")
    assert known["model.depth"].choices == ()
    assert known["pipeline.stages"].choices == STAGES


@pytest.mark.parametrize("path", [path for path, _ in fields()])
def test_what_was_expected_is_said_without_the_names_of_types(path: str) -> None:
    section, key = path.split(".")
    with pytest.raises(UsageError) as refused:
        from_dict({section: {key: {"a": 1}}})
    expected = str(refused.value).partition(": expected ")[2]
    assert expected
    assert not {"int", "float", "bool", "str", "array", "object", "null", "got"} & set(re.findall(r"[a-z]+", expected))
