"""Settings of the Plan screen that are lists of choices, edited by ticking: the stages of the pipeline above all."""

from collections.abc import Callable, Mapping
from typing import Any

from textual.app import App

from engine.config.schema import get
from engine.config.setting import Setting
from engine.config.stages import first_missing
from engine.core.errors import UsageError
from tui.planning.draft import Draft
from tui.widgets.checklist_dialog import Judged, Tick, TickDialog

STAGES = "pipeline.stages"
NOTES = {  # what each stage does
    "data": "gets the text, and what later stages will ask for",
    "tokenizer": "learns the tokens of the text",
    "tokenize": "writes the text as tokens",
    "pretrain": "trains on the text",
    "evaluate": "bits per byte, samples, CORE",
    "midtrain": "trains on many conversations; in no preset",
    "sft": "fine-tunes on conversations",
    "rl": "learns from rewards; in no preset",
    "chat_eval": "asks problems with known answers",
    "report": "writes the report",
}


def tick(app: App[Any], draft: Draft, knob: Setting, change: Callable[[Mapping[str, Any]], None]) -> None:
    """Choose several of a knob's choices, and `change` the draft to them. They stand in the order of the list."""

    def judge(ticked: tuple[str, ...]) -> Judged:
        return Judged((knob.help,), fault_of(draft, knob, ticked))

    def chosen(ticked: tuple[str, ...] | None) -> None:
        if ticked is not None:
            change({knob.path: ticked})

    # a setting's choices come without their order
    lines = [Tick(*each) for each in NOTES.items()] if knob.path == STAGES else [Tick(c, "") for c in knob.choices]
    app.push_screen(TickDialog(knob.path, "takes them", lines, get(draft.config, knob.path), judge), chosen)


def fault_of(draft: Draft, knob: Setting, ticked: tuple[str, ...]) -> str:
    """What is wrong with these choices; empty: nothing."""
    try:
        draft.edit({knob.path: ticked})
    except UsageError as error:
        return str(error)
    missing = first_missing(ticked) if knob.path == STAGES else None
    return f"{missing.why}: tick {missing.first} as well, or leave {missing.stage} out." if missing is not None else ""
