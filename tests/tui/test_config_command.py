"""`nanosolo config show` and `schema`: every setting with the origin of its value, and a schema that editors read."""

import json
from pathlib import Path

from engine.config.commented_toml import SCHEMA_FILE
from engine.config.json_schema import json_schema
from engine.config.layers import from_dict, from_toml
from engine.config.schema import fields
from engine.plan.presets import load_preset
from tests.helpers.command_line import nanosolo


def test_show_says_where_each_value_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[model]\nmax_seq_len = 1024\n")
    options = ("--preset", "balanced", "--config", str(file), "--set", "optim.grad_clip=2", "--gpu", "h200")
    shown = json.loads(nanosolo(tmp_path, "config", "show", *options, "--json").stdout)
    assert list(shown) == [path for path, _ in fields()]
    expected = {
        "model.depth": (14, "preset"),
        "model.max_seq_len": (1024, "file"),
        "optim.grad_clip": (2.0, "flag"),
        "runtime.gpu": ("h200", "flag"),
        "batch.loss": ("chunked", "default"),
        "budget.steps": (None, "default"),
    }
    assert {path: (shown[path]["value"], shown[path]["origin"]) for path in expected} == expected
    lines = nanosolo(tmp_path, "config", "show", *options).stdout.splitlines()
    words = {line.split()[0]: line.split() for line in lines if line and not line.startswith("[")}
    assert words["depth"] == ["depth", "14", "blocks", "preset", "balanced"]
    assert words["max_seq_len"] == ["max_seq_len", "1,024", "tokens", "file", str(file)]
    assert words["grad_clip"] == ["grad_clip", "2", "flag"]


def test_show_without_options_shows_the_defaults(tmp_path: Path) -> None:
    shown = json.loads(nanosolo(tmp_path, "config", "show", "--json").stdout)
    assert {entry["origin"] for entry in shown.values()} == {"default"}


def test_a_wrong_value_is_one_line(tmp_path: Path) -> None:
    refused = nanosolo(tmp_path, "config", "show", "--set", "model.depht=3")
    assert refused.returncode == 2
    assert refused.stderr == "error: model.depht = 3: unknown key. Did you mean model.depth?\n"


def test_the_exported_file_names_the_schema_that_is_written(tmp_path: Path) -> None:
    file, schema = tmp_path / "my.toml", tmp_path / SCHEMA_FILE
    nanosolo(tmp_path, "--preset", "balanced", "--export", str(file))
    nanosolo(tmp_path, "config", "schema", str(schema))
    first = file.read_text().splitlines()[0]
    named = file.parent / first.removeprefix("#:schema ")
    assert json.loads(named.read_text()) == json_schema()
    assert json.loads(nanosolo(tmp_path, "config", "schema").stdout) == json_schema()
    assert from_dict(from_toml(file.read_text())) == from_dict(load_preset("balanced"))
