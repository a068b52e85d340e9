"""The complete configuration as TOML with a comment line per setting, for people to edit."""

from engine.config.schema import RunConfig, get
from engine.config.setting import Setting, section_texts, settings

SCHEMA_FILE = "nanosolo.schema.json"
# Taplo and Even Better TOML read the first line; the path is relative to the TOML file.
HEADER = f"""\
#:schema ./{SCHEMA_FILE}
# A nanosolo configuration. Start a run with it: nanosolo --config THIS-FILE
# For completion and checks in your editor, run this next to it: nanosolo config schema {SCHEMA_FILE}
"""


def to_commented_toml(config: RunConfig) -> str:
    """All settings with meaning, unit, valid values and default. Loads to the same configuration as `to_toml`."""
    import tomli_w

    lines = [HEADER]
    section = ""
    for setting in settings().values():
        if setting.section != section:
            section = setting.section
            lines += ["", f"# {section_texts()[section]}", f"[{section}]"]
        lines.append(f"# {comment(setting)}")
        value = get(config, setting.path)
        if value is None:
            lines.append(f"# {setting.key} = (not set)")
        else:
            plain = list(value) if isinstance(value, tuple) else value
            lines.append(tomli_w.dumps({setting.key: plain}).rstrip("\n"))
    return "\n".join(lines) + "\n"


def comment(setting: Setting) -> str:
    """One line: meaning, then unit, valid values and default in parentheses."""
    facts = [*([setting.unit] if setting.unit else []), setting.range_text, f"default: {default_text(setting)}"]
    return f"{setting.help} ({'; '.join(facts)})"


def default_text(setting: Setting) -> str:
    """The default in a comment or a table: `12`, `0.02`, `auto`, `not set`, `builtin, local`, `empty`."""
    import tomli_w

    value = setting.default
    if value is None:
        return "not set"
    if isinstance(value, tuple):
        return ", ".join(value) or "empty"
    if isinstance(value, str):
        return value or "empty"
    return tomli_w.dumps({"x": value}).partition("= ")[2].strip()
