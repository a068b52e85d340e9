"""`nanosolo config`: every setting with the origin of its value, and the JSON Schema of configuration files."""

import argparse
import json
import sys
from pathlib import Path

from engine.config.json_schema import json_schema
from engine.config.layers import Resolved
from engine.config.schema import get
from engine.config.setting import Setting, plain, settings
from engine.core.atomic_io import write_atomically
from engine.core.errors import EXIT_DONE
from tui.cli.commands.configuration import configuration

VALUE_WIDTH = 40  # characters; longer values are cut, --json has them whole


def config(options: argparse.Namespace) -> int:
    """`config show` or `config schema`."""
    return _schema(options.file) if options.action == "schema" else _show(options)


def _schema(file: str) -> int:
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if file == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(file), text.encode())
        print(f"wrote {file}. Exported files name it in their first line.", file=sys.stderr)
    return EXIT_DONE


def _show(options: argparse.Namespace) -> int:
    """Without a preset or a file: the defaults, and what the other options change."""
    resolved = configuration(options, of_defaults=True)
    if options.json:
        values = {path: {"value": get(resolved.config, path), "origin": resolved.origins[path]} for path in settings()}
        print(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        print("\n".join(config_lines(resolved, names_of(options))))
    return EXIT_DONE


def names_of(options: argparse.Namespace) -> dict[str, str]:
    """Origins with the name of the preset or file."""
    found = {"preset": f"preset {options.preset}", "file": f"file {options.config}"}
    return {origin: name for origin, name in found.items() if not name.endswith(" None")}


def config_lines(resolved: Resolved, names: dict[str, str]) -> list[str]:
    """A line per setting: value, unit, origin."""
    lines: list[str] = []
    section = ""
    for setting in settings().values():
        if setting.section != section:
            section = setting.section
            lines += [*([""] if lines else []), f"[{section}]"]
        value = _shown(setting, get(resolved.config, setting.path))
        origin = resolved.origins[setting.path]
        lines.append(f"{setting.key:<27} {value:<{VALUE_WIDTH}} {names.get(origin, origin)}")
    return lines


def _shown(setting: Setting, value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, int | float):
        text = f"{plain(value)} {setting.unit}".strip() if setting.path != "runtime.seed" else str(value)
    elif isinstance(value, tuple):
        text = ", ".join(map(str, value)) or "empty"
    else:
        text = str(value) or "empty"
    text = " ".join(text.split())
    return text if len(text) <= VALUE_WIDTH else text[: VALUE_WIDTH - 1] + "…"
