"""What the user set for the console in config.toml: keys, theme, refresh, ascii. Faults are told, never fatal."""

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
    """The console's settings; every one has a default."""

    theme: str = "auto"  # auto: ours, dark; plain colours where the terminal has no more
    refresh_seconds: Annotated[float, Meta(ge=0.1, le=60)] = 0.5  # how often a run's events are read
    ascii: bool = False  # draw with ASCII characters only
    keys: dict[str, str] = {}  # id of a binding -> key or comma-separated keys, by Textual's names


def config_file() -> Path:
    """$NANOSOLO_CONFIG, else config.toml in the user's config directory."""
    named = os.environ.get("NANOSOLO_CONFIG")
    return Path(named).expanduser() if named else Path(platformdirs.user_config_dir("nanosolo")) / "config.toml"


def load_settings(path: Path, binding_ids: frozenset[str], themes: frozenset[str]) -> tuple[Settings, list[str]]:
    """The settings of a file and what is wrong with it, one line each. A faulty value leaves its default."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(), []
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        return Settings(), [f"{path}: cannot be read ({reason}); the defaults hold."]
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return Settings(), [f"{path}: not valid TOML, {error}; the defaults hold."]
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
            faults.append(f"{path}: {name} = {value!r}: {str(error).lower()}; the default holds.")
    if good.get("theme", "auto") not in themes | {"auto"}:
        theme = good.pop("theme")
        faults.append(f'{path}: theme = "{theme}" is not known. {_nearest(theme, themes)}')
    good["keys"], wrong = _check_keys(good.get("keys", {}), binding_ids)
    return Settings(**good), faults + [f"{path}: {fault}" for fault in wrong]


def _check_keys(keys: dict[str, str], known: frozenset[str]) -> tuple[dict[str, str], list[str]]:
    good, faults = {}, []
    for name, key in keys.items():
        if name not in known:
            faults.append(f'keys."{name}" names no binding. {_nearest(name, known)}')
        elif not all(part.strip() for part in key.split(",")):
            faults.append(f'keys."{name}" = "{key}": give one key, or several with commas between.')
        elif unknown := [part.strip() for part in key.split(",") if textual_name(part) is None]:
            faults.append(
                f'keys."{name}" = "{key}": there is no key {unknown[0]}. Did you mean {nearest_name(unknown[0])}?'
            )
        else:
            good[name] = ",".join(str(textual_name(part)) for part in key.split(","))
    return good, faults


def _nearest(name: str, known: Any) -> str:
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"Did you mean {match[0]}?" if match else f"Known: {', '.join(sorted(known))}."
