"""A dialog with the report files of a run and the commands that write the report or export the model."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from engine.config.stages import MODEL_STAGES
from engine.run.checkpoints import list_checkpoints
from engine.run.directory import RunDirectory
from tui import actions
from tui.console import Console, console_of
from tui.keys.bindings import bindings_for
from tui.planning.choices import Choice
from tui.widgets.dialogs import ChoiceDialog, ChoiceList

FORMATS = {"hf": "Transformers", "nanochat": "nanochat"}


def show_files(console: Console, run: RunDirectory) -> None:
    """Show the report files and the export commands."""
    console.push_screen(RunFiles(run))


class RunFiles(ChoiceDialog):
    """Enter or y copies the path or command under the cursor."""

    BINDINGS = bindings_for("files") + bindings_for("dialog")
    KEYS_OF = "files"
    SUBTITLE = "Enter or y copy · Esc close · ? help"

    def __init__(self, run: RunDirectory) -> None:
        self.texts, choices = choices_of(run)
        super().__init__(f"Report and export of {run.name}", choices, choices[0].key)

    def action_copy(self) -> None:
        chosen = self.query_one(ChoiceList).chosen
        if chosen is not None:
            actions.copy_text(console_of(self), self.texts[chosen], "copied.txt")

    def take(self, key: str | None) -> None:
        """Copy, and keep the dialog open."""
        self.action_copy()


def choices_of(run: RunDirectory) -> tuple[dict[str, str], Sequence[Choice]]:
    """(text to copy for each key, choices to show)."""
    report = shlex.join(["nanosolo", "report", run.name])
    rows = [
        ("page", "Report (HTML)", _state(run.page_file), str(run.page_file)),
        ("text", "Report (text)", _state(run.report_file), str(run.report_file)),
        ("write", "Write report", "from the current state of the run", report),
    ]
    model = "" if any(list_checkpoints(run.checkpoints(stage)) for stage in MODEL_STAGES) else "; no checkpoint yet"
    for kind, name in FORMATS.items():
        line = shlex.join(["nanosolo", "export", run.name, "--to", kind, f"{run.name}-{kind}"])
        rows.append((kind, "Export", f"{name} format, new folder{model}", line))
    return {key: text for key, _, _, text in rows}, [Choice(*row) for row in rows]


def _state(path: Path) -> str:
    return "" if path.exists() else "not written yet"
