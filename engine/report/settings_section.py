"""The configuration of a run, its versions, and how to repeat it."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

from engine import __version__
from engine.config.layers import Layer, resolve, to_toml
from engine.config.schema import RunConfig, fields, get
from engine.plan.presets import load_preset, preset_names
from engine.report.changes import changes
from engine.report.document import Block, Code, Column, Paragraph, Section, Table
from engine.report.excerpts import excerpt
from engine.report.source import Source
from engine.report.summary_section import device_of

NOT_KNOWN = "not known"


def configuration_section(source: Source) -> Section:
    """The differences from the preset, then the complete configuration."""
    config = source.config
    return Section(
        "configuration",
        "Configuration",
        (_difference(config), Code("toml", to_toml(config).rstrip(), "The complete configuration", folded=True)),
    )


def versions_section(source: Source) -> Section:
    """The versions that the run recorded; others are shown as not known."""
    history = source.history
    started, device = history.started, next(iter(history.devices.values()), None)
    noted = started.versions if started is not None else {}

    def known(name: str) -> str:
        return excerpt(str(noted[name]), 120) if name in noted else NOT_KNOWN

    rows = (
        ("nanosolo", excerpt(started.version, 60) if started is not None else NOT_KNOWN),
        ("nanosolo commit", known("commit")),
        ("torch", excerpt(device.torch, 60) if device is not None else NOT_KNOWN),
        ("compiled", ("yes" if device.compiled else "no") if device is not None else NOT_KNOWN),
        ("Python", known("python")),
        ("platform", known("platform")),
        ("device", device_of(source) or NOT_KNOWN),
        ("driver", known("driver")),
        ("host", excerpt(started.host, 120) if started is not None else NOT_KNOWN),
        ("this report", f"nanosolo {__version__}"),
    )
    return Section("versions", "Machine and versions", (Table((Column("part"), Column("version")), rows),))


def repeat_section(source: Source) -> Section:
    """The commands that repeat the run."""
    blocks: list[Block] = [
        Paragraph(
            f"The same run under another name. All random numbers follow from runtime.seed = "
            f"{source.config.runtime.seed}; another GPU, driver, torch or number of CPU threads may round differently."
        ),
        Code("sh", "\n".join([*_checkout(source), *_with_file(source)])),
    ]
    command = preset_command(source.config)
    if command is not None:
        blocks += [Paragraph("Or, without this run's files:"), Code("sh", command)]
    return Section("repeat", "How to reproduce", (*blocks, *_changes_on_the_way(source)))


def _changes_on_the_way(source: Source) -> Iterator[Block]:
    found = changes(source.history)
    if not found:
        return
    yield Paragraph(
        "The run was restarted with other settings or other code, so the commands alone do not repeat it. What "
        "changed, and from which step (the run's folder keeps the earlier settings in run.before-*.toml):"
    )
    heads = (Column("stage"), Column("after step", "number"), Column("what"), Column("change"))
    rows = tuple(
        (
            excerpt(change.stage, 40) or "none yet",
            f"{change.step:,}" if change.step is not None else "",
            change.kind,
            excerpt(change.what),
        )
        for change in found
    )
    yield Table(heads, rows)


def preset_command(config: RunConfig) -> str | None:
    """The command line that gives this configuration from its preset; None without a preset."""
    preset = _preset(config)
    if preset is None:
        return None
    words = ["nanosolo", "--preset", shlex.quote(config.about.preset)]
    for path in _changed(config, preset):
        if not path.startswith("about."):
            words += ["--set", shlex.quote(f"{path}={_toml(get(config, path))}")]
    return " ".join(words)


def _preset(config: RunConfig) -> RunConfig | None:
    name = config.about.preset
    return resolve(Layer("preset", load_preset(name))).config if name in preset_names() else None


def _changed(config: RunConfig, other: RunConfig) -> list[str]:
    return [path for path, _ in fields() if get(config, path) != get(other, path)]


def _difference(config: RunConfig) -> Block:
    preset = _preset(config)
    name = excerpt(config.about.preset, 60)
    if preset is None:
        return Paragraph(f"The preset {name} is not known here, so the settings cannot be compared.")
    rows = tuple(
        (path, excerpt(_shown(get(preset, path))), excerpt(_shown(get(config, path))))
        for path in _changed(config, preset)
    )
    if not rows:
        return Paragraph(f"As in the preset {name}.")
    heads = (Column("setting", "code"), Column(f"preset {name}", "code"), Column("this run", "code"))
    return Table(heads, rows)


def _checkout(source: Source) -> list[str]:
    """How to install the versions of the first start, if they are known."""
    started, device = next(iter(source.history.starts), None), next(iter(source.history.devices.values()), None)
    commit = str(started.versions.get("commit", "")) if started is not None else ""
    lines = []
    if commit.removesuffix("-dirty").isalnum():
        changed = "  # plus uncommitted changes that were not recorded" if commit.endswith("-dirty") else ""
        lines.append(f"git checkout {commit.removesuffix('-dirty')}{changed}")
    if device is not None:
        version = excerpt(device.torch, 60).partition("+")[0]
        lines.append(f"pip install -e . {shlex.quote(f'torch=={version}')}")
    return lines


def _with_file(source: Source) -> list[str]:
    path, name = excerpt(source.config_path, 4096), f"{excerpt(source.name)[:90]}-again"
    return [f"nanosolo --config {shlex.quote(path)} --name {shlex.quote(name)}"]


def _toml(value: Any) -> str:
    """The value as --set takes it. JSON lists and strings are valid TOML."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _shown(value: Any) -> str:
    return "not set" if value is None else _toml(value)
