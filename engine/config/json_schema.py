"""The configuration as a JSON Schema (draft 7), which editors use to complete and check TOML files."""

from typing import Any

from engine.config.setting import Setting, section_texts, settings

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that Taplo reads
NUMBERS = {"int": "integer", "float": "number"}


def json_schema() -> dict[str, Any]:
    """The schema of a configuration file. Rules that involve several settings are not in it."""
    sections: dict[str, dict[str, Any]] = {}
    for setting in settings().values():
        sections.setdefault(setting.section, {})[setting.key] = _property(setting)
    return {
        "$schema": DRAFT,
        "title": "nanosolo configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            section: {
                "type": "object",
                "description": section_texts()[section],
                "additionalProperties": False,
                "properties": properties,
            }
            for section, properties in sections.items()
        },
    }


def _property(setting: Setting) -> dict[str, Any]:
    unit = f" Unit: {setting.unit}." if setting.unit else ""
    found: dict[str, Any] = {"description": setting.help + unit, **_type(setting)}
    if setting.default is not None:
        found["default"] = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    return found


def _type(setting: Setting) -> dict[str, Any]:
    match setting.kind:
        case "bool":
            return {"type": "boolean"}
        case "int" | "float":
            return {"type": NUMBERS[setting.kind], **_limits(setting)}
        case "choice":
            return {"type": "string", "enum": list(setting.choices)}
        case "pair":
            return {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        case "list":
            item: dict[str, Any] = {"type": "string"}
            if setting.choices:
                item["enum"] = list(setting.choices)
            # one bare string means a list of one
            return {"anyOf": [{"type": "array", "items": item}, {**item, "minLength": 1}]}
    return {"type": "string"}


def _limits(setting: Setting) -> dict[str, float]:
    limits = {}
    if setting.low is not None:
        limits["exclusiveMinimum" if setting.low_open else "minimum"] = setting.low
    if setting.high is not None:
        limits["exclusiveMaximum" if setting.high_open else "maximum"] = setting.high
    return limits
