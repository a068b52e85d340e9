"""The user's console settings in config.toml: keys, theme, refresh, ascii. Errors are reported, never fatal."""

import difflib
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import platformdirs
from msgspec import Meta

from tui.keys.names import nearest_name, textual_name


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the console; each has a default."""

    theme: str = "auto"  # auto: our dark theme, or plain colors on terminals with at most 16 colors
    refresh_seconds: Annotated[float, Meta(ge=0.1, le=60)] = 0.5  # how often the events of a run are read
    ascii: bool = False  # draw with ASCII characters only
    keys: dict[str, str] = {}  # binding id -> comma-separated keys, by Textual's names


def config_file() -> Path:
    """$NANOSOLO_CONFIG, or config.toml in the user's config directory."""
    named = os.environ.get("NANOSOLO_CONFIG")
    return Path(named).expanduser() if named else Path(platformdirs.user_config_dir("nanosolo")) / "config.toml"


def load_settings(path: Path, binding_ids: frozenset[str], themes: frozenset[str]) -> tuple[Settings, list[str]]:
    """The settings in a file, and its errors, one line each. An invalid value is replaced by the default."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(), []
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        return Settings(), [f"{path}: cannot be read ({reason}). Using the defaults."]
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return Settings(), [f"{path}: not valid TOML: {error}. Using the defaults."]
    good: dict[str, Any] = {}
    faults: list[str] = []
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    for name, value in table.items():
        if name not in fields:
            faults.append(f"{path}: {name} is not a setting. {_nearest(name, fields)}")
            continue
        try:
            good[name] = msgspec.convert(value, fields[name].type)
        except msgspec.ValidationError as error:
            faults.append(f"{path}: {name} = {value!r}: {str(error).lower()}. Using the default.")
    if good.get("theme", "auto") not in themes | {"auto"}:
        theme = good.pop("theme")
        faults.append(f'{path}: theme = "{theme}" is not a theme. {_nearest(theme, themes)}')
    good["keys"], wrong = _check_keys(good.get("keys", {}), binding_ids)
    return Settings(**good), faults + [f"{path}: {fault}" for fault in wrong]


def _check_keys(keys: dict[str, str], known: frozenset[str]) -> tuple[dict[str, str], list[str]]:
    good, faults = {}, []
    for name, key in keys.items():
        if name not in known:
            faults.append(f'keys."{name}" is not the id of a key. {_nearest(name, known)}')
        elif not all(part.strip() for part in key.split(",")):
            faults.append(f'keys."{name}" = "{key}": give one key, or several separated by commas.')
        elif unknown := [part.strip() for part in key.split(",") if textual_name(part) is None]:
            faults.append(
                f'keys."{name}" = "{key}": {unknown[0]} is not a key. Did you mean {nearest_name(unknown[0])}?'
            )
        else:
            good[name] = ",".join(str(textual_name(part)) for part in key.split(","))
    return good, faults


def _nearest(name: str, known: Any) -> str:
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"Did you mean {match[0]}?" if match else f"Known: {', '.join(sorted(known))}."
