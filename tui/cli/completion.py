"""Completion in the shell: presets, run names, settings and their values. Runs at every Tab, so it imports little."""

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any

import argcomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter, SuppressCompleter

from engine.config.setting import settings
from engine.config.stages import MODEL_STAGES, STAGES
from engine.core.errors import NanosoloError
from engine.core.paths import presets_home, runs_home
from engine.hardware.gpu_catalog import CATALOGUE
from engine.plan.presets import preset_names

CONFIG_FILE = "config.toml"  # what makes a folder a run
BOOLEANS = ("true", "false")
Completer = Callable[..., Iterable[str]]


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and exit. Does nothing where the shell did not ask."""
    add_completers(parser)
    argcomplete.autocomplete(parser, always_complete_options=False, default_completer=SuppressCompleter())


def print_script(options: argparse.Namespace) -> int:
    """`nanosolo completion SHELL`: print the script for the shell to source."""
    sys.stdout.write(argcomplete.shellcode(["nanosolo"], shell=options.shell))
    return 0


def add_completers(parser: argparse.ArgumentParser) -> None:
    """Give every option of the parser and its commands the completer for its values."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                add_completers(command)
        elif action.dest in COMPLETERS:
            vars(action)["completer"] = COMPLETERS[action.dest]  # where argcomplete looks for it


def _presets(**_: Any) -> list[str]:
    return ["auto", *preset_names(presets_home())]


def _runs(**_: Any) -> list[str]:
    """Names of runs; looked up here because `engine.run` imports much."""
    try:
        return sorted(path.name for path in runs_home().iterdir() if (path / CONFIG_FILE).is_file())
    except (OSError, NanosoloError):
        return []


def _gpus(**_: Any) -> list[str]:
    return ["auto", "cpu", *(gpu.id for gpu in CATALOGUE)]


def _stages(prefix: str, **_: Any) -> list[str]:
    return list_of(prefix, STAGES)


def _settings(prefix: str, **_: Any) -> list[str]:
    """`section.key=`, and after it the values where there are choices."""
    path, equals, value = prefix.partition("=")
    setting = settings().get(path)
    if not equals or setting is None:
        return [f"{path}=" for path in settings()]
    values: list[str] = [*(BOOLEANS if setting.kind == "bool" else ()), *(("none",) if setting.optional else ())]
    if setting.kind == "choice":
        values += setting.choices
    elif setting.kind == "list" and setting.choices:
        values += list_of(value, setting.choices)
    elif path == "runtime.gpu":
        values += _gpus()
    return [f"{path}={value}" for value in values]


def list_of(prefix: str, names: Iterable[str]) -> list[str]:
    """Completions of the last name of a list with commas, without those that it has already."""
    given = prefix.split(",")[:-1]
    return [",".join([*given, name]) for name in names if name not in given]


COMPLETERS: dict[str, Completer] = {
    "preset": _presets,
    "run": _runs,
    "gpu": _gpus,
    "set": _settings,
    "stages": _stages,
    "skip": _stages,
    "stage": lambda **_: list(MODEL_STAGES),
    "config": FilesCompleter(["toml"]),
    "export": FilesCompleter(["toml"]),
    "write": FilesCompleter(["toml"]),
    "file": FilesCompleter(["json"]),
    "tokenizer": FilesCompleter(["json"]),
    "folder": DirectoriesCompleter(),
}
