"""The schema describes every setting once; the exported file, the settings page and the JSON Schema come from it."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine.config.commented_toml import HEADER, SCHEMA_FILE, to_commented_toml
from engine.config.json_schema import DRAFT, json_schema
from engine.config.layers import from_dict, from_toml, to_toml, with_changes
from engine.config.schema import fields, get, to_dict
from engine.config.setting import section_texts, settings
from engine.config.settings_page import settings_page
from engine.core.errors import UsageError
from engine.data.chat.sources import DATASETS
from engine.data.corpora.readers import SUFFIXES
from engine.plan.presets import load_preset, preset_names

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
TABLES = [*(load_preset(name) for name in preset_names()), {}, to_dict(from_dict({}))]


def test_every_setting_and_section_is_described() -> None:
    assert list(settings()) == [path for path, _ in fields()]
    for setting in settings().values():
        assert re.fullmatch(r"[A-Za-z\d].*[.]", setting.help), setting.path
        assert "\n" not in setting.help and len(setting.help) <= 145  # two lines of the Plan screen at 80 columns
    for section, text in section_texts().items():
        assert text.endswith("."), section


def test_the_ranges_are_those_that_are_checked() -> None:
    for setting in settings().values():
        if setting.kind not in ("int", "float"):
            continue
        step: float = 1 if setting.kind == "int" else 1e-6
        for limit, is_open, out in ((setting.low, setting.low_open, -step), (setting.high, setting.high_open, step)):
            if limit is None:
                continue
            outside = limit if is_open else limit + out
            assert not setting.contains(outside)
            with pytest.raises(
                UsageError, match=re.escape(f"{setting.path} = {outside}: expected {setting.expected}.")
            ):
                from_dict({setting.section: {setting.key: outside}})


def test_the_named_formats_are_those_that_are_read() -> None:
    assert set(re.findall(r"\.[a-z]+\b", settings()["data.paths"].help)) == set(SUFFIXES)
    for path in ("midtrain.sources", "sft.sources"):
        help_text = settings()[path].help
        assert all(f"{name}," in help_text for name in ("builtin", *DATASETS))


@pytest.mark.parametrize("name", preset_names())
def test_a_commented_file_loads_to_the_same_configuration(name: str) -> None:
    config = from_dict(load_preset(name))
    text = to_commented_toml(config)
    assert from_toml(text) == from_toml(to_toml(config))
    assert from_dict(from_toml(text)) == config


def test_a_commented_file_explains_every_setting_and_names_its_schema() -> None:
    config = with_changes(
        from_dict({}), {"evaluate.prompts": ["one\ntwo", 'a "quoted" # word'], "about.description": "x\ny"}
    )
    text = to_commented_toml(config)
    assert from_dict(from_toml(text)) == config
    lines = text.splitlines()
    assert lines[0] == f"#:schema ./{SCHEMA_FILE}" and text.startswith(HEADER)
    for setting in settings().values():
        at = next(i for i, line in enumerate(lines) if line.startswith(f"# {setting.help} ("))
        assert setting.range_text in lines[at] and setting.unit in lines[at]
        value = f"# {setting.key} = (not set)" if get(config, setting.path) is None else f"{setting.key} = "
        assert lines[at + 1].startswith(value) or setting.help in "".join(lines[at + 1 :])  # two sections share a text
    assert "# steps = (not set)" in lines


def test_the_settings_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), (
        "docs/settings.md is out of date. Update it: python -m engine.config.settings_page > docs/settings.md"
    )


def test_the_json_schema_is_valid_and_accepts_what_loads() -> None:
    schema = json_schema()
    assert schema["$schema"] == DRAFT
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    for table in TABLES:
        validator.validate(table)
        validator.validate(from_toml(to_commented_toml(from_dict(table))))
    validator.validate({"data": {"paths": "text/"}, "chat_eval": {"tasks": "gsm8k"}})


@pytest.mark.parametrize(
    "table",
    [
        {"model": {"depht": 12}},
        {"modle": {}},
        {"depth": 12},
        {"model": 12},
        {"model": {"depth": 0}},
        {"model": {"depth": 129}},
        {"model": {"depth": "12"}},
        {"model": {"depth": 12.5}},
        {"budget": {"tokens_per_param": 0}},
        {"optim": {"adam_beta1": 1.0}},
        {"runtime": {"compile": "yes"}},
        {"data": {"shuffle": "yes"}},
        {"data": {"paths": ""}},
        {"data": {"paths": [1]}},
        {"pipeline": {"stages": ["dta"]}},
        {"about": {"expected_hours": [1.0]}},
        {"runtime": {"seed": 2**62}},
    ],
)
def test_the_json_schema_refuses_what_does_not_load(table: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        from_dict(table)
    assert not jsonschema.Draft7Validator(json_schema()).is_valid(table)
