"""Write the draft to disk: as a preset of the user, or as a TOML file to use elsewhere."""

from pathlib import Path

import msgspec

from engine.config.commented_toml import to_commented_toml
from engine.config.layers import to_toml
from engine.config.schema import RunConfig
from engine.core.atomic_io import write_atomically
from engine.core.errors import NanosoloError
from engine.core.paths import presets_home, require_writable
from engine.plan.presets import preset_names
from engine.run.directory import NAME


def judge_preset_name(name: str) -> str:
    """What is wrong with the name of a preset; empty if nothing is."""
    if not name:
        return ""
    if not NAME.fullmatch(name):
        return "Use letters, digits, '.', '_' and '-'. Start with a letter or digit."
    if name in preset_names() or name == "auto":
        return f"{name} is a preset that comes with nanosolo. Choose another name."
    return ""


def save_preset(config: RunConfig, name: str) -> Path:
    """Write the configuration as a preset, over one of the same name. Raises NanosoloError."""
    if not name or judge_preset_name(name):
        raise NanosoloError(judge_preset_name(name) or "Type a name for the preset.")
    about = msgspec.structs.replace(config.about, preset=name, description=f"Made from {config.about.preset}.")
    about = msgspec.structs.replace(about, expected_hours=None)
    require_writable(presets_home())
    path = presets_home() / f"{name}.toml"
    write_atomically(path, to_toml(msgspec.structs.replace(config, about=about)).encode())
    return path


def judge_file(text: str) -> str:
    """What is wrong with the name of a file to write; empty if nothing is."""
    path = Path(text).expanduser()
    if text and path.is_dir():
        return f"{path} is a folder. Add the name of a file."
    if text and not path.parent.is_dir():
        return f"{path.parent} does not exist."
    return ""


def export_toml(config: RunConfig, text: str) -> Path:
    """Write the complete configuration, with a comment per setting. Raises NanosoloError if that fails."""
    if not text or judge_file(text):
        raise NanosoloError(judge_file(text) or "Type the name of a file.")
    path = Path(text).expanduser().absolute()
    write_atomically(path, to_commented_toml(config).encode())
    return path
