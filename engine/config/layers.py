"""Read a configuration from TOML, layers and overrides; write it as TOML."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engine.config.schema import RunConfig, fields, to_dict
from engine.config.setting import settings
from engine.config.validation import check_together, explain, list_form, refuse_unknown
from engine.core.errors import UsageError


class Layer(NamedTuple):
    """Values from one origin (`preset`, `file`, `flag`, `edited`): a nested table like the TOML's."""

    origin: str
    values: Mapping[str, Any]


class Resolved(NamedTuple):
    """A configuration and the origin of each value (`default` if no layer set it)."""

    config: RunConfig
    origins: dict[str, str]  # dotted path -> origin


def resolve(*layers: Layer) -> Resolved:
    """Merge the layers over the defaults, later over earlier, and validate. Raises UsageError for the first error."""
    merged: dict[str, Any] = {}
    origins = {path: "default" for path, _ in fields()}
    for layer in layers:
        _merge(merged, layer.values)
        for path, _value in _leaves(layer.values):
            if path in origins:
                origins[path] = layer.origin
    return Resolved(from_dict(merged), origins)


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Validate a nested table. Raises UsageError: setting, value, what was expected, the closest match.

    A list setting may be given as one bare string: `paths = "text/"` means `paths = ["text/"]`.
    """
    refuse_unknown(values)
    values = _with_lists(values)
    try:
        config = msgspec.convert(values, RunConfig, strict=True)
    except msgspec.ValidationError as error:
        raise explain(str(error), values) from None
    check_together(config)
    return config


def from_toml(text: str, name: str = "the configuration") -> dict[str, Any]:
    """Parse TOML into a nested table (not yet validated). Raises UsageError naming the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is not valid TOML: {error}. Correct that line.") from None
    except RecursionError:
        raise UsageError(
            f"{name} is not a configuration: it is nested too deeply. "
            "Write a valid one with: nanosolo --preset smoke --export FILE"
        ) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into a nested table. Raises UsageError when it cannot be read or parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}. Give the path of a TOML file.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text. Give the path of a TOML file.") from None
    return from_toml(text, str(path))


def to_toml(config: RunConfig) -> str:
    """The complete configuration as TOML; `from_dict(from_toml(to_toml(c))) == c`."""
    import tomli_w

    return tomli_w.dumps(to_dict(config))


def parse_override(text: str) -> dict[str, Any]:
    """`section.key=value` as a nested table. The value is read as TOML, and as a plain string where it is not TOML.

    `none` unsets an optional setting, such as the budget.steps of a preset; TOML has no value for that.
    Lists: a bare string is one item, commas included, because paths and prompts may contain commas; names of stages
    and tasks do not, so there commas separate items. Raises UsageError for text of another form or a malformed list.
    """
    path, equals, raw = text.partition("=")
    parts = path.strip().split(".")
    if not equals or len(parts) != 2 or not all(parts):
        raise UsageError(f"--set {text}: expected section.key=value, for example --set model.depth=12")
    if raw.strip() == "none" and path.strip() in settings() and settings()[path.strip()].optional:
        return {parts[0]: {parts[1]: None}}
    return {parts[0]: {parts[1]: _value_of(path.strip(), raw.strip())}}


def _value_of(path: str, raw: str) -> Any:
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = raw
    setting = settings().get(path)
    if setting is None or setting.kind != "list" or isinstance(value, list):
        return value
    if raw.startswith("["):  # the shell removed the quotes: ["a", "b"] arrives as [a, b]
        raise UsageError(f"--set {path}={raw}: not a list in TOML. {list_form(setting)}")
    if not isinstance(value, str):
        return raw  # a folder may be called 2024
    if setting.choices and "," in value:
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _with_lists(values: Mapping[str, Any]) -> dict[str, Any]:
    """The table with each bare string that is the value of a list setting in a list. An empty one stays an error."""
    table = {section: dict(keys) for section, keys in values.items()}
    for setting in settings().values():
        value = table.get(setting.section, {}).get(setting.key) if setting.kind == "list" else None
        if isinstance(value, str) and value.strip():
            table[setting.section][setting.key] = [value]
    return table


def with_changes(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The configuration with the values at these dotted paths replaced, validated."""
    table = to_dict(config)
    for path, value in changes.items():
        section, _, key = path.partition(".")
        table.setdefault(section, {})[key] = value
    return from_dict(table)


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            into[key] = {**into[key], **value}
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, table in values.items():
        if isinstance(table, Mapping):
            for key, value in table.items():
                yield f"{section}.{key}", value
