"""The dialogs that write a draft to disk: as TOML to take elsewhere, as a preset of the user's own."""

from collections.abc import Callable
from pathlib import Path

from engine.core.errors import NanosoloError
from engine.core.paths import presets_home
from tui.console import Console
from tui.planning.draft import Draft
from tui.planning.files import export_toml, judge_file, judge_preset_name, save_preset
from tui.widgets.dialogs import TextDialog


def export(app: Console, draft: Draft) -> None:
    """Ask for a file name and write the complete configuration there."""

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
    note = "The complete configuration as TOML, to run elsewhere with --config. A file of that name is replaced."
    app.push_screen(TextDialog("Export TOML", note, str(name), judge_file), write)


def save_as_preset(app: Console, draft: Draft, then: Callable[[str], None]) -> None:
    """Ask for a name, save the draft as a preset of that name, and hand the name to `then`."""

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

    note = f"A name for these settings. They are kept in {presets_home()}."
    app.push_screen(TextDialog("Save as a preset of your own", note, "", judge_preset_name), save)
