"""The dialogs that write a draft to disk: as a TOML file, or as a preset of the user."""

from collections.abc import Callable
from pathlib import Path

from engine.core.errors import NanosoloError
from engine.core.paths import presets_home
from tui.console import Console
from tui.planning.draft import Draft
from tui.planning.files import check_file_name, check_preset_name, export_toml, save_preset
from tui.widgets.dialogs import TextDialog


def export(app: Console, draft: Draft) -> None:
    """Ask for a file name and write the full configuration there."""

    def write(name: str | None) -> None:
        if name is None:
            return
        try:
            path = export_toml(draft.config, name)
        except NanosoloError as error:
            app.tell_error(error)
            return
        app.settled.append(draft.config)
        app.tell(f"Wrote {path}. Run it with: nanosolo --config {path}")

    name = Path.cwd() / f"{draft.config.about.preset}.toml"
    note = "Writes the full configuration as TOML, for use with --config. An existing file is overwritten."
    app.push_screen(TextDialog("Export TOML", note, str(name), check_file_name), write)


def save_as_preset(app: Console, draft: Draft, then: Callable[[str], None]) -> None:
    """Ask for a name, save the draft as a preset of that name, and call `then` with the name."""

    def save(name: str | None) -> None:
        if name is None:
            return
        try:
            path = save_preset(draft.config, name)
            then(name)
        except NanosoloError as error:
            app.tell_error(error)
            return
        app.tell(f"Saved as {path}. Use it with --preset {name}.")

    note = f"Name of the preset. It is saved in {presets_home()}."
    app.push_screen(TextDialog("Save as your own preset", note, "", check_preset_name), save)
