"""Generate docs/settings.md from the schema: python -m engine.config.settings_page > docs/settings.md"""

import sys

from engine.config.commented_toml import default_text
from engine.config.setting import Setting, section_texts, settings

TOP = """\
# Settings

<!-- Generated from engine/config/schema.py. To update: python -m engine.config.settings_page > docs/settings.md -->

All settings of a run. Set them in a TOML file (`--config`), on the command line (`--set model.depth=12`), or on the
Plan screen of the console. Later ones win: defaults, preset, file, command line.

- `nanosolo --preset balanced --export my.toml` writes a complete file to edit, with these descriptions as comments.
- `nanosolo config show --preset balanced` shows every value and where it comes from.
- `nanosolo config schema nanosolo.schema.json` writes a JSON Schema. Editors with Taplo (Even Better TOML in
  VS Code) use it to complete and check exported files.

To unset an optional setting: `--set budget.steps=none`. A list setting takes one string, or a list:
`paths = ["a/", "b.jsonl"]`.
"""


def settings_page() -> str:
    """The page as Markdown: a table per section."""
    parts = [TOP]
    for section, text in section_texts().items():
        rows = [_row(setting) for setting in settings().values() if setting.section == section]
        parts.append(
            f"## [{section}]\n\n{text}\n\n"
            "| setting | meaning | unit | valid values | default |\n| --- | --- | --- | --- | --- |\n" + "\n".join(rows)
        )
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _row(setting: Setting) -> str:
    cells = (f"`{setting.key}`", setting.help, setting.unit, setting.range_text, default_text(setting))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
