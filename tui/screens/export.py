"""The export dialog that Plan and Launch review share."""

from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import NanosoloError
from tui.planning.draft import Draft
from tui.planning.files import export_toml, judge_file
from tui.screens.dialogs import TextDialog

if TYPE_CHECKING:
    from tui.app import NanosoloApp


def export(app: "NanosoloApp", draft: Draft) -> None:
    """Ask for a file name and write the complete configuration there."""

    def write(name: str | None) -> None:
        if name is None:
            return
        try:
            path = export_toml(draft.config, name)
        except NanosoloError as error:
            app.tell_error(error)
            return
        app.tell(f"Wrote {path}. Run it with: nanosolo --config {path}")

    name = Path.cwd() / f"{draft.config.about.preset}.toml"
    note = "The complete configuration as TOML, to run elsewhere with --config. A file of that name is replaced."
    app.push_screen(TextDialog("Export TOML", note, str(name), judge_file), write)
