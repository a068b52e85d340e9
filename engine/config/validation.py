"""Errors of a configuration, one line each: the setting, its value, what was expected, the closest match."""

import difflib
import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

from engine.config.schema import RunConfig, depth_is_valid, fields, get, heads_of, width_of
from engine.config.setting import Setting, settings
from engine.core.errors import UsageError


def refuse_unknown(values: Mapping[str, Any]) -> None:
    """Raises UsageError for the first section or key of a nested table that does not exist."""
    known = [path for path, _ in fields()]
    sections = {path.split(".")[0] for path in known}
    for section, table in values.items():
        if section not in sections:
            # a key at the top level by mistake: `depth = 12` outside [model]
            homes = [path for path in known if path.endswith(f".{section}")]
            what = (
                f"[{section}]: unknown section"
                if isinstance(table, Mapping)
                else f"{section} = {_show(table)}: unknown key"
            )
            raise UsageError(f"{what}. {_suggest(section, homes, sorted(sections))}")
        if not isinstance(table, Mapping):
            raise UsageError(f"{section} = {_show(table)}: expected a table, [{section}].")
        for key in table:
            path = f"{section}.{key}"
            if path not in known:
                here = [name.split(".")[1] for name in known if name.startswith(f"{section}.")]
                homes = [name for name in known if name.endswith(f".{key}")]
                raise UsageError(f"{path} = {_show(table[key])}: unknown key. {_suggest(key, homes, here, section)}")


def check_together(config: RunConfig) -> None:
    """Check the rules that involve several settings. Raises UsageError for the first one that is broken."""
    for path, _ in fields():
        value = get(config, path)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{path} = {value}: expected a finite number.")
    depth = config.model.depth
    if not depth_is_valid(depth):
        below, above = depth - 1, depth + 1
        raise UsageError(
            f"model.depth = {depth}: width {width_of(depth):,} cannot be divided into {heads_of(depth)} heads. "
            f"Use {below} or {above}."
        )
    micro = config.batch.device_batch_size * config.model.max_seq_len
    if config.batch.total_batch_size < micro:
        raise UsageError(
            f"batch.total_batch_size = {config.batch.total_batch_size}: less than one micro-batch, "
            f"{config.batch.device_batch_size} × {config.model.max_seq_len:,} = {micro:,} tokens. "
            f"Use at least {micro}, or a smaller batch.device_batch_size or model.max_seq_len."
        )
    if config.budget.steps is not None and config.budget.tokens is not None:
        raise UsageError(
            f"budget.steps = {config.budget.steps} and budget.tokens = {config.budget.tokens}: both are set. "
            "Set only one of them, for example with --set budget.steps=none."
        )
    notice = config.runtime.preempt_file
    if notice is not None and not notice.startswith("/"):
        raise UsageError(f'runtime.preempt_file = "{notice}": expected an absolute path.')
    if config.data.source == "local" and not config.data.paths:
        form = list_form(settings()["data.paths"])
        raise UsageError(f'data.paths = []: data.source = "local" needs a folder, file or glob of text. {form}')
    for path, sources in (("midtrain.sources", config.midtrain.sources), ("sft.sources", config.sft.sources)):
        if not sources:
            raise UsageError(f"{path} = []: name at least one source of conversations, for example builtin.")
    if not config.pipeline.stages:
        raise UsageError("pipeline.stages = []: name at least one stage, for example data.")
    if len(set(config.pipeline.stages)) != len(config.pipeline.stages):
        raise UsageError(
            f"pipeline.stages = {list(config.pipeline.stages)}: a stage is named twice. Name each stage once."
        )


def explain(message: str, values: Mapping[str, Any]) -> UsageError:
    """The error for a value that msgspec refused. `message` ends with its place: ``... - at `$.model.depth` ``."""
    path, _, place = message.partition(" - at `$")[2].rstrip("`").lstrip(".").partition("[")
    value: Any = values
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else value
    setting = settings()[path]
    if setting.kind == "list" and not place:
        return UsageError(f"{path} = {_show(value)}: expected {setting.expected}. {list_form(setting)}")
    if place and isinstance(value, list | tuple):
        value = value[int(place.rstrip("]"))]
    expected = setting.expected
    if setting.kind == "list":
        expected = f"one of {', '.join(setting.choices)}" if setting.choices else "text"
    nearest = difflib.get_close_matches(str(value), setting.choices, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    return UsageError(f"{path} = {_show(value)}: expected {expected}.{hint}")


def list_form(setting: Setting) -> str:
    """How to write a list setting, on the command line and in a file."""
    one, two = setting.example
    several = json.dumps([one, two])
    return (
        f"One item: --set {setting.path}={shlex.quote(one)}. Several: --set '{setting.path}={several}', "
        f"or {setting.key} = {several} under [{setting.section}] in a file."
    )


def _suggest(name: str, homes: list[str], near: list[str], section: str = "") -> str:
    if homes:
        return f"Did you mean {homes[0]}?"
    match = difflib.get_close_matches(name, near, n=1, cutoff=0.5)
    prefix = f"{section}." if section else ""
    return f"Did you mean {prefix}{match[0]}?" if match else f"Known: {', '.join(near)}."


def _show(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
