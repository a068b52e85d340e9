"""What is no configuration, in one line each: the dotted path, the value, what was expected, the nearest valid key."""

import difflib
import json
import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.config.schema import (
    RunConfig,
    choices,
    depth_is_valid,
    fields,
    get,
    heads_of,
    is_list,
    list_example,
    width_of,
)
from engine.core.errors import UsageError

TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "a table",
    "null": "none",
}


def refuse_unknown(values: Mapping[str, Any]) -> None:
    """Raises UsageError for the first section or key of a nested table that does not exist."""
    known = [path for path, _ in fields()]
    sections = {path.split(".")[0] for path in known}
    for section, table in values.items():
        if section not in sections:
            # the key may stand at the top level by mistake: `depth = 12` outside [model]
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
    """The rules that a type cannot say. Raises UsageError for the first that is broken."""
    for path, _ in fields():
        value = get(config, path)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{path} = {value}: expected a finite number.")
    depth = config.model.depth
    if not depth_is_valid(depth):
        below, above = depth - 1, depth + 1
        raise UsageError(
            f"model.depth = {depth}: width {width_of(depth)} does not divide into {heads_of(depth)} heads. "
            f"Use {below} or {above}."
        )
    micro = config.batch.device_batch_size * config.model.max_seq_len
    if config.batch.total_batch_size < micro:
        raise UsageError(
            f"batch.total_batch_size = {config.batch.total_batch_size}: less than one micro-batch of "
            f"{config.batch.device_batch_size} x {config.model.max_seq_len:,} = {micro:,} tokens. "
            f"Use at least {micro}, or a smaller batch.device_batch_size or model.max_seq_len."
        )
    if config.budget.steps is not None and config.budget.tokens is not None:
        raise UsageError(
            f"budget.steps = {config.budget.steps} and budget.tokens = {config.budget.tokens}: give one of the two."
        )
    notice = config.runtime.preempt_file
    if notice is not None and not notice.startswith("/"):
        raise UsageError(f'runtime.preempt_file = "{notice}": expected an absolute path.')
    if config.data.source == "local" and not config.data.paths:
        form = list_form("data.paths", dict(fields())["data.paths"])
        raise UsageError(f'data.paths = []: data.source = "local" needs a folder, file or glob of text. {form}')
    for path, sources in (("midtrain.sources", config.midtrain.sources), ("sft.sources", config.sft.sources)):
        if not sources:
            raise UsageError(f"{path} = []: name at least one source of conversations, for example builtin.")
    if not config.pipeline.stages:
        raise UsageError("pipeline.stages = []: name at least one stage, for example data.")
    if len(set(config.pipeline.stages)) != len(config.pipeline.stages):
        raise UsageError(f"pipeline.stages = {list(config.pipeline.stages)}: a stage is named twice. Name each once.")


def explain(message: str, values: Mapping[str, Any]) -> UsageError:
    """Turn msgspec's `Expected ... - at `$.a.b[0]`` into our sentence with the value."""
    what, _, where = message.partition(" - at `$")
    path, _, place = where.rstrip("`").lstrip(".").partition("[")
    value: Any = values
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else value
    if place and isinstance(value, list | tuple):
        value = value[int(place.rstrip("]"))]
    known = dict(fields()).get(path)
    if known is not None and is_list(known) and not place:
        return UsageError(f"{path} = {_show(value)}: expected a list of texts. {list_form(path, known)}")
    allowed = choices(known) if known is not None else ()
    expected = f"expected one of {', '.join(allowed)}" if allowed else _plainly(what)
    nearest = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5) if allowed else []
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    return UsageError(f"{path} = {_show(value)}: {expected}.{hint}")


def list_form(path: str, field: msgspec.structs.FieldInfo) -> str:
    """How to write a list setting, in a file and on the command line."""
    one, two = list_example(field)
    section, key = path.split(".")
    several = json.dumps([one, two])
    return (
        f"One item: --set {path}={shlex.quote(one)}. Several: --set '{path}={several}', or {key} = {several} "
        f"under [{section}] in a file."
    )


def _plainly(what: str) -> str:
    """msgspec's ``Expected `int | null`, got `str` `` in words: the value stands beside it, so its type need not."""
    what = what.partition(", got `")[0]
    what = re.sub(r"`([a-z |]+)`", lambda types: " or ".join(TYPES.get(t, t) for t in types[1].split(" | ")), what)
    return what[:1].lower() + what[1:].replace("`", "")


def _suggest(name: str, homes: list[str], near: list[str], section: str = "") -> str:
    if homes:
        return f"Did you mean {homes[0]}?"
    match = difflib.get_close_matches(name, near, n=1, cutoff=0.5)
    prefix = f"{section}." if section else ""
    return f"Did you mean {prefix}{match[0]}?" if match else f"Known here: {', '.join(near)}."


def _show(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
