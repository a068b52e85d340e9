"""What to take away from a run: where its report lies, and the commands that write it or its model for others."""

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
    """Show where the report lies and how to export the model."""
    console.push_screen(RunFiles(run))


class RunFiles(ChoiceDialog):
    """Enter or y copies the path or the command under the cursor."""

    BINDINGS = bindings_for("files") + bindings_for("dialog")
    KEYS_OF = "files"
    SUBTITLE = "Enter or y copies it · Esc leaves · ? help"

    def __init__(self, run: RunDirectory) -> None:
        self.texts, choices = choices_of(run)
        super().__init__(f"Report and model of {run.name}", choices, choices[0].key)

    def action_copy(self) -> None:
        chosen = self.query_one(ChoiceList).chosen
        if chosen is not None:
            actions.copy_text(console_of(self), self.texts[chosen], "copied.txt")

    def take(self, key: str | None) -> None:
        """Copy, and stay: there is more to take."""
        self.action_copy()


def choices_of(run: RunDirectory) -> tuple[dict[str, str], Sequence[Choice]]:
    """What is copied, by key, and how it is shown."""
    report = shlex.join(["nanosolo", "report", run.name])
    rows = [
        ("page", "Report, page", _there(run.page_file), str(run.page_file)),
        ("text", "Report, text", _there(run.report_file), str(run.report_file)),
        ("write", "Write it anew", "as far as the run has come", report),
    ]
    model = "" if any(list_checkpoints(run.checkpoints(stage)) for stage in MODEL_STAGES) else "; no checkpoint yet"
    for kind, name in FORMATS.items():
        line = shlex.join(["nanosolo", "export", run.name, "--to", kind, f"{run.name}-{kind}"])
        rows.append((kind, "Export", f"for {name}, a new folder{model}", line))
    return {key: text for key, _, _, text in rows}, [Choice(*row) for row in rows]


def _there(path: Path) -> str:
    return "" if path.exists() else "not written yet"
