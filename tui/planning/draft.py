"""The configuration being planned: a base, the edits of the user, and the origin of every value."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.config.layers import Layer, Resolved, from_dict, parse_override, resolve
from engine.config.schema import RunConfig, fields, get
from engine.config.setting import Setting
from engine.core.errors import UsageError
from engine.plan.presets import load_preset
from tui.planning.setting_fields import nearest, parse, quoted, valid_values

Edits = dict[str, Any]  # dotted path -> value; None: not set


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable draft. Every change returns a new one, so undo only has to keep the old one."""

    name: str  # of the preset the base starts with; empty if it starts with a file
    base: tuple[Layer, ...]  # preset, file and flags, as given
    edits: Edits
    config: RunConfig
    origins: dict[str, str]

    @classmethod
    def of(cls, name: str, base: tuple[Layer, ...], edits: Mapping[str, Any] | None = None) -> "Draft":
        """Apply edits to a base and validate. Raises UsageError with the first error."""
        plain = resolve(*base).config
        # an edit equal to the base is not an edit
        kept = {path: value for path, value in (edits or {}).items() if get(plain, path) != value}
        resolved: Resolved = resolve(*base, Layer("edited", _nested(kept)))
        return cls(name=name, base=base, edits=kept, config=resolved.config, origins=resolved.origins)

    @classmethod
    def from_preset(cls, name: str, own: Path | None = None) -> "Draft":
        """A draft of an unchanged preset. Raises UsageError if the preset is unknown or not valid."""
        return cls.of(name, (Layer("preset", load_preset(name, own)),))

    @classmethod
    def from_layers(cls, layers: tuple[Layer, ...]) -> "Draft":
        """A draft of the layers from the command line. Raises UsageError if they are not valid."""
        preset = next((layer.values for layer in layers if layer.origin == "preset"), {})
        return cls.of(str(preset.get("about", {}).get("preset", "")), layers)

    def edit(self, changes: Mapping[str, Any]) -> "Draft":
        """The draft with these values. Raises UsageError if they are not valid together."""
        return Draft.of(self.name, self.base, {**self.edits, **changes})

    def reset(self, path: str) -> "Draft":
        """The draft without the edit of one value. Raises UsageError if the remaining values are not valid together."""
        return Draft.of(self.name, self.base, {key: value for key, value in self.edits.items() if key != path})

    def on_gpu(self, gpu: str) -> "Draft":
        """The draft for another device: an id in the catalog, `cpu`, or `auto`; the same as --gpu."""
        return self.edit({"runtime.gpu": gpu, "runtime.device": "cpu" if gpu == "cpu" else "auto"})

    def changes(self) -> Iterator[tuple[str, Any, Any]]:
        """(path, value in the base, current value) of all edits, in file order."""
        plain = resolve(*self.base).config
        for path, _ in fields():
            if path in self.edits:
                yield path, get(plain, path), self.edits[path]


def try_text(draft: Draft, setting: Setting, text: str) -> tuple[Draft | None, str]:
    """(the draft with the typed value, "") or (None, one line that says what is wrong)."""
    try:
        value = parse(setting, text)
        if isinstance(value, int | float) and not setting.contains(value):
            raise ValueError(f"valid values: {valid_values(setting)}")
        return draft.edit({setting.path: value}), ""
    except ValueError as error:
        return None, f"{setting.path} = {text or 'nothing'}: {error}."
    except UsageError as error:
        return None, str(error)


def nearest_valid(draft: Draft, setting: Setting, text: str) -> Edits | None:
    """The valid change closest to the typed text, or None if there is none."""
    return next((edits for edits in _candidates(draft, setting, text) if _is_valid(draft, edits)), None)


def _candidates(draft: Draft, setting: Setting, text: str) -> Iterator[Edits]:
    """Closest first."""
    value = nearest(setting, text)
    if value is None:
        return
    yield {setting.path: value}
    batch, length = draft.config.batch, draft.config.model.max_seq_len
    match setting.path:
        case "model.depth":
            yield {"model.depth": value - 1}
            yield {"model.depth": value + 1}
        case "batch.total_batch_size":
            yield {setting.path: batch.device_batch_size * length}
        case "batch.device_batch_size":
            yield {setting.path: batch.total_batch_size // length}
        case "model.max_seq_len":
            yield {setting.path: batch.total_batch_size // batch.device_batch_size}
        case "budget.steps":
            yield {setting.path: value, "budget.tokens": None}
        case "budget.tokens":
            yield {setting.path: value, "budget.steps": None}


def _is_valid(draft: Draft, edits: Edits) -> bool:
    try:
        draft.edit(edits)
    except UsageError:
        return False
    return True


def command(draft: Draft, name: str) -> list[str]:
    """The command line that starts the same run without the console. It resolves to exactly `draft.config`."""
    words = ["nanosolo"]
    plain = from_dict({})
    if draft.name:
        plain = from_dict(draft.base[0].values)
        words += ["--preset", draft.name]
    runtime = draft.config.runtime
    covered = set()
    # --gpu also sets the device, so use it only if both values match
    if runtime.gpu != plain.runtime.gpu and runtime.device == ("cpu" if runtime.gpu == "cpu" else "auto"):
        words += ["--gpu", runtime.gpu]
        covered = {"runtime.gpu", "runtime.device"}
    for path, _ in fields():
        value = get(draft.config, path)
        if path not in covered and value != get(plain, path):
            words += ["--set", override(path, value)]
    return [*words, "--name", name] if name else words


def command_line(words: list[str]) -> str:
    """The words as one shell command."""
    return shlex.join(words)


def override(path: str, value: Any) -> str:
    """`section.key=value`, which `parse_override` reads back as this value; `none` if it is not set."""
    if value is None:
        return f"{path}=none"
    plain = f"{path}={value}"
    if isinstance(value, str) and parse_override(plain) == _nested({path: value}):
        return plain
    if isinstance(value, tuple):
        return f"{path}=[{', '.join(map(quoted, value))}]"
    return f"{path}={quoted(value)}"


def _nested(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        section, _, key = path.partition(".")
        table.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value
    return table
