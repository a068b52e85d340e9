"""The configuration that is being planned: a base, the user's edits over it, and where every value came from."""

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
    """An immutable draft. Every change gives a new one, so that undo is to keep the old."""

    name: str  # of the preset that the base begins with; empty where it begins with a file
    base: tuple[Layer, ...]  # preset, file and flags, as they were given
    edits: Edits
    config: RunConfig
    origins: dict[str, str]

    @classmethod
    def of(cls, name: str, base: tuple[Layer, ...], edits: Mapping[str, Any] | None = None) -> "Draft":
        """Lay edits over a base and validate. Raises UsageError naming the first fault."""
        plain = resolve(*base).config
        # an edit that says what the base says already is none
        kept = {path: value for path, value in (edits or {}).items() if get(plain, path) != value}
        resolved: Resolved = resolve(*base, Layer("edited", _nested(kept)))
        return cls(name=name, base=base, edits=kept, config=resolved.config, origins=resolved.origins)

    @classmethod
    def from_preset(cls, name: str, own: Path | None = None) -> "Draft":
        """A draft of a preset as it is. Raises UsageError when the preset is unknown or faulty."""
        return cls.of(name, (Layer("preset", load_preset(name, own)),))

    @classmethod
    def from_layers(cls, layers: tuple[Layer, ...]) -> "Draft":
        """A draft of what the command line was given. Raises UsageError when that is not valid."""
        preset = next((layer.values for layer in layers if layer.origin == "preset"), {})
        return cls.of(str(preset.get("about", {}).get("preset", "")), layers)

    def edit(self, changes: Mapping[str, Any]) -> "Draft":
        """With these values. Raises UsageError when they are not valid together."""
        return Draft.of(self.name, self.base, {**self.edits, **changes})

    def reset(self, path: str) -> "Draft":
        """Without the edit of one value. Raises UsageError when what is left is not valid together."""
        return Draft.of(self.name, self.base, {key: value for key, value in self.edits.items() if key != path})

    def on_gpu(self, gpu: str) -> "Draft":
        """For another device, by its id in the catalogue, `cpu`, or `auto`; as --gpu does."""
        return self.edit({"runtime.gpu": gpu, "runtime.device": "cpu" if gpu == "cpu" else "auto"})

    def changes(self) -> Iterator[tuple[str, Any, Any]]:
        """(path, value of the base, value now) for all that was edited, in file order."""
        plain = resolve(*self.base).config
        for path, _ in fields():
            if path in self.edits:
                yield path, get(plain, path), self.edits[path]


def try_text(draft: Draft, setting: Setting, text: str) -> tuple[Draft | None, str]:
    """(the draft with what was typed, "") or (None, one line that says what is wrong)."""
    try:
        value = parse(setting, text)
        if isinstance(value, int | float) and not setting.contains(value):
            raise ValueError(f"valid values: {valid_values(setting)}")
        return draft.edit({setting.path: value}), ""
    except ValueError as error:
        return None, f"{setting.path} = {text or 'nothing'}: {error}."
    except UsageError as error:
        return None, str(error)


def mend(draft: Draft, setting: Setting, text: str) -> Edits | None:
    """The smallest change of what was typed that is valid, or None where there is none to offer."""
    return next((edits for edits in _candidates(draft, setting, text) if _is_valid(draft, edits)), None)


def _candidates(draft: Draft, setting: Setting, text: str) -> Iterator[Edits]:
    """Nearest first."""
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
    """The command line that starts the same run without a screen. Its words resolve to exactly `draft.config`."""
    words = ["nanosolo"]
    plain = from_dict({})
    if draft.name:
        plain = from_dict(draft.base[0].values)
        words += ["--preset", draft.name]
    runtime = draft.config.runtime
    covered = set()
    # --gpu sets the device as well, so it can stand for the pair only where that is what was chosen
    if runtime.gpu != plain.runtime.gpu and runtime.device == ("cpu" if runtime.gpu == "cpu" else "auto"):
        words += ["--gpu", runtime.gpu]
        covered = {"runtime.gpu", "runtime.device"}
    for path, _ in fields():
        value = get(draft.config, path)
        if path not in covered and value != get(plain, path):
            words += ["--set", override(path, value)]
    return [*words, "--name", name] if name else words


def command_line(words: list[str]) -> str:
    """The words as one line for a shell."""
    return shlex.join(words)


def override(path: str, value: Any) -> str:
    """`section.key=value` that `parse_override` reads back as this value; not set is written `none`."""
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
