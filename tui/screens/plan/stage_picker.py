"""A checklist for settings that are lists of choices, such as the stages of the pipeline."""

from collections.abc import Callable, Mapping
from typing import Any

from textual.app import App

from engine.config.schema import get
from engine.config.setting import Setting
from engine.config.stages import first_missing
from engine.core.errors import UsageError
from tui.planning.draft import Draft
from tui.widgets.checklist_dialog import ChecklistDialog, Item, Validation

STAGES = "pipeline.stages"
NOTES = {  # what each stage does
    "data": "downloads or reads the text and the data of later stages",
    "tokenizer": "trains the tokenizer",
    "tokenize": "converts the text to tokens",
    "pretrain": "trains on the text",
    "evaluate": "measures bits per byte and CORE, writes samples",
    "midtrain": "trains on many conversations; not in any preset",
    "sft": "fine-tunes on conversations",
    "rl": "reinforcement learning; not in any preset",
    "chat_eval": "scores answers to chat tasks",
    "report": "writes the report",
}


def pick(app: App[Any], draft: Draft, knob: Setting, change: Callable[[Mapping[str, Any]], None]) -> None:
    """Ask for any number of a setting's choices, and call `change` with them, in the order of the list."""

    def validate(selected: tuple[str, ...]) -> Validation:
        return Validation((knob.help,), fault_of(draft, knob, selected))

    def chosen(selected: tuple[str, ...] | None) -> None:
        if selected is not None:
            change({knob.path: selected})

    # the schema does not order the stages
    items = [Item(*each) for each in NOTES.items()] if knob.path == STAGES else [Item(c, "") for c in knob.choices]
    app.push_screen(ChecklistDialog(knob.path, "accept", items, get(draft.config, knob.path), validate), chosen)


def fault_of(draft: Draft, knob: Setting, selected: tuple[str, ...]) -> str:
    """What is wrong with these choices; empty if they are valid."""
    try:
        draft.edit({knob.path: selected})
    except UsageError as error:
        return str(error)
    missing = first_missing(selected) if knob.path == STAGES else None
    return f"{missing.why}. Select {missing.first} as well, or clear {missing.stage}." if missing is not None else ""
