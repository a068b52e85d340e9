"""Write a draft to disk, as a preset of the user or as a TOML file."""

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


def check_preset_name(name: str) -> str:
    """What is wrong with the name of a preset; empty if nothing is."""
    if not name:
        return ""
    if not NAME.fullmatch(name):
        return "Use letters, digits, '.', '_' and '-'. Start with a letter or digit."
    if name in preset_names() or name == "auto":
        return f"{name} is a built-in preset. Choose another name."
    return ""


def save_preset(config: RunConfig, name: str) -> Path:
    """Write the configuration as a preset, and replace one of that name. Raises NanosoloError."""
    if not name or check_preset_name(name):
        raise NanosoloError(check_preset_name(name) or "Enter a name for the preset.")
    about = msgspec.structs.replace(config.about, preset=name, description=f"Made from {config.about.preset}.")
    about = msgspec.structs.replace(about, expected_hours=None)
    require_writable(presets_home())
    path = presets_home() / f"{name}.toml"
    write_atomically(path, to_toml(msgspec.structs.replace(config, about=about)).encode())
    return path


def check_file_name(text: str) -> str:
    """What is wrong with the name of a file to write; empty if nothing is."""
    path = Path(text).expanduser()
    if text and path.is_dir():
        return f"{path} is a folder. Add a file name."
    if text and not path.parent.is_dir():
        return f"{path.parent} does not exist."
    return ""


def export_toml(config: RunConfig, text: str) -> Path:
    """Write the complete configuration, with a comment per setting. Raises NanosoloError if that fails."""
    if not text or check_file_name(text):
        raise NanosoloError(check_file_name(text) or "Enter a file name.")
    path = Path(text).expanduser().absolute()
    write_atomically(path, to_commented_toml(config).encode())
    return path
