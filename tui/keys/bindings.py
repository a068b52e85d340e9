"""The one table of keys: Textual's bindings, the footer, the help screen and the palette are made from it."""

from collections.abc import Mapping
from typing import NamedTuple

from textual.binding import Binding, BindingType

EVERYWHERE = "app"
RUN_SCREENS = ("monitor", "logs", "doctor")


class Key(NamedTuple):
    """One thing a key does. `id` is the name under which config.toml remaps it."""

    id: str
    keys: str  # Textual's names, comma-separated; the first is shown
    action: str  # method action_<action> of the screen, or of the app with the prefix `app.`
    label: str  # one or two words, for the footer
    help: str  # one sentence, for help and palette
    screens: tuple[str, ...]
    footer: bool = True
    priority: bool = False  # before anything that has the focus, and through any dialog


KEYS: tuple[Key, ...] = (
    # everywhere
    Key(
        "go.plan",
        "1",
        "app.go('plan')",
        "Plan",
        "Choose GPU, preset and settings, see what they mean.",
        ("app",),
        False,
    ),
    Key("go.review", "2", "app.go('review')", "Review", "Review the launch of what Plan holds.", ("app",), False),
    Key("go.monitor", "3", "app.go('monitor')", "Monitor", "Watch a run: status, charts, machine.", ("app",), False),
    Key("go.runs", "4", "app.go('runs')", "Runs", "See every run and its state.", ("app",), False),
    Key("go.compare", "5", "app.go('compare')", "Compare", "Lay two to four runs over each other.", ("app",), False),
    Key("go.logs", "6", "app.go('logs')", "Logs", "Read what the engine wrote.", ("app",), False),
    Key("go.chat", "7", "app.go('chat')", "Chat", "Talk to a run's model, or to two of them.", ("app",), False),
    Key("app.back", "escape", "app.back", "Back", "Go back to where you came from.", ("app",), False),
    Key("app.palette", "colon,ctrl+p", "app.command_palette", "Palette", "Find any command by name.", ("app",)),
    Key(
        "app.help",
        "question_mark",
        "app.help",
        "Help",
        "Show the keys of this screen and what they do.",
        ("app", "dialog"),
    ),
    Key("app.theme", "ctrl+t", "app.next_theme", "Theme", "Change to the next colour theme.", ("app",), False),
    Key("app.leave", "q,ctrl+c", "app.leave", "Leave", "Leave the console; training goes on.", ("app",)),
    Key("app.leave_now", "ctrl+q", "app.leave", "Leave now", "Leave, also out of a dialog.", ("app",), False, True),
    Key("dialog.close", "escape,q,ctrl+c", "app.back", "Close", "Close this and go back.", ("dialog",), False),
    # text in a dialog
    Key("text.down", "j,down", "scroll_down", "Down", "Scroll down.", ("text",), False),
    Key("text.up", "k,up", "scroll_up", "Up", "Scroll up.", ("text",), False),
    Key("text.page_down", "pagedown,ctrl+f", "page_down", "Page down", "One page down.", ("text",), False),
    Key("text.page_up", "pageup,ctrl+b", "page_up", "Page up", "One page up.", ("text",), False),
    Key("text.first", "g,home", "scroll_home", "First", "Go to the beginning.", ("text",), False),
    Key("text.last", "G,end", "scroll_end", "Last", "Go to the end.", ("text",), False),
    # ticking several of a list
    Key("ticks.tick", "space", "tick", "Tick", "Tick or untick the line under the cursor.", ("ticks",)),
    Key("ticks.take", "enter", "take", "Take", "Take what is ticked.", ("ticks",)),
    # plan
    Key("plan.preset", "p", "choose_preset", "Preset", "Choose the preset to start from.", ("plan",)),
    Key("plan.gpu", "d", "choose_gpu", "GPU", "Choose the GPU to plan for.", ("plan",)),
    Key("plan.edit", "enter,e", "edit", "Edit", "Edit the setting under the cursor.", ("plan",)),
    Key(
        "plan.more",
        "right,plus",
        "step(1)",
        "More",
        "Take the next larger value, or the next choice.",
        ("plan",),
        False,
    ),
    Key(
        "plan.less",
        "left,minus",
        "step(-1)",
        "Less",
        "Take the next smaller value, or the last choice.",
        ("plan",),
        False,
    ),
    Key(
        "plan.reset",
        "backspace,delete",
        "reset",
        "Reset",
        "Give the setting back its preset's value.",
        ("plan",),
        False,
    ),
    Key("plan.fix", "f", "fix", "Fix", "Apply the fix of the warning that is shown.", ("plan",), False),
    Key("plan.next_warning", "w", "next_warning", "Next warning", "Show the next warning.", ("plan",), False),
    Key("plan.undo", "u", "undo", "Undo", "Take the last change back.", ("plan",), False),
    Key("plan.save", "s", "save", "Save", "Save these settings as a preset of your own.", ("plan",), False),
    Key("plan.launch", "L", "review", "Launch", "Review the launch: nothing starts before you confirm.", ("plan",)),
    Key("plan.budget", "b", "budget", "Budget", "Find the best model for a number of hours.", ("plan",)),
    # the best model for a number of hours
    Key("budget.adopt", "enter,a", "adopt", "Adopt", "Take the model under the cursor into the plan.", ("budget",)),
    Key("budget.hours", "h", "field('hours')", "Hours", "Change the number of hours.", ("budget",)),
    Key("budget.price", "p", "field('price')", "Price", "Change the price of an hour.", ("budget",)),
    Key("budget.models", "enter", "submit", "Models", "Go to the models.", ("budget-field",)),
    Key("budget.other", "tab", "app.focus_next", "Next", "Go to the next field.", ("budget-field",)),
    Key("budget.leave", "escape", "app.back", "Back", "Go back to the plan.", ("budget-field",)),
    # while a setting is edited
    Key("edit.keep", "enter", "submit", "Keep", "Keep the value.", ("edit",)),
    Key("edit.nearest", "tab", "nearest", "Nearest", "Take the nearest valid value.", ("edit",)),
    Key("edit.more", "up", "step(1)", "More", "Take the next larger value, or the next choice.", ("edit",)),
    Key("edit.less", "down", "step(-1)", "Less", "Take the next smaller value, or the last choice.", ("edit",)),
    Key("edit.cancel", "escape", "cancel", "Cancel", "Leave the value as it was.", ("edit",)),
    # lists
    Key("list.down", "j", "cursor_down", "Down", "Move down; the arrow keys do as well.", ("list",), False),
    Key("list.up", "k", "cursor_up", "Up", "Move up.", ("list",), False),
    Key("list.first", "g", "first", "First", "Go to the first row.", ("list",), False),
    Key("list.last", "G", "last", "Last", "Go to the last row.", ("list",), False),
    # launch review
    Key("review.launch", "enter", "launch", "Launch", "Start the run; it goes on when you leave.", ("review",)),
    Key("review.name", "n", "rename", "Name", "Give the run another name.", ("review",)),
    Key("review.copy", "y", "copy_command", "Copy", "Copy the command that does the same.", ("review",)),
    Key(
        "review.whole",
        "t",
        "toggle_whole",
        "Whole TOML",
        "Show the whole configuration, or only the changes.",
        ("review",),
    ),
    Key("plan.export", "E", "export", "Export", "Write the complete configuration as TOML.", ("plan", "review")),
    Key("review.down", "down,j", "scroll(3)", "Down", "Scroll down.", ("review",), False),
    Key("review.up", "up,k", "scroll(-3)", "Up", "Scroll up.", ("review",), False),
    Key("review.page_down", "pagedown,ctrl+f", "page(1)", "Page down", "One page down.", ("review",), False),
    Key("review.page_up", "pageup,ctrl+b", "page(-1)", "Page up", "One page up.", ("review",), False),
    Key("review.first", "g,home", "first", "First", "Go to the beginning.", ("review",), False),
    Key("review.last", "G,end", "last", "Last", "Go to the end.", ("review",), False),
    Key("name.keep", "enter", "submit", "Keep", "Keep the name.", ("name",)),
    Key("name.leave", "escape", "leave_field", "Done", "Leave the field.", ("name",)),
    # a run
    Key("run.checkpoint", "c", "checkpoint", "Checkpoint", "Write a checkpoint at the next step.", ("monitor", "runs")),
    Key("run.stop", "x", "stop", "Stop", "Stop the run, after a checkpoint or now.", ("monitor", "runs")),
    Key("run.resume", "r", "resume", "Resume", "Go on from the last checkpoint.", ("monitor", "runs")),
    Key("run.stages", "R", "stages", "Stages", "Run stages alone, or again.", ("monitor", "runs")),
    Key(
        "run.copy",
        "y",
        "copy",
        "Copy",
        "Copy what is shown of the run as text.",
        ("monitor", "logs", "doctor", "compare"),
    ),
    Key("monitor.metric", "m", "next_metric", "Metric", "Show the next metric in the large chart.", ("monitor",)),
    Key(
        "monitor.advice",
        "a",
        "advice",
        "Advice",
        "Read all advice, and the plan against what was measured.",
        ("monitor",),
    ),
    Key("monitor.samples", "p", "samples", "Samples", "Read the newest samples in full.", ("monitor",), False),
    Key(
        "monitor.doctor",
        "o",
        "doctor",
        "OOM doctor",
        "Open the OOM doctor on a run that ran out of memory.",
        ("monitor",),
        False,
    ),
    # charts
    Key("chart.left", "left", "cursor(-1)", "Cursor left", "Read the sample to the left.", ("chart",), False),
    Key("chart.right", "right", "cursor(1)", "Cursor right", "Read the sample to the right.", ("chart",), False),
    Key("chart.up", "up", "switch(-1)", "Series above", "Read the series before.", ("chart",), False),
    Key("chart.down", "down", "switch(1)", "Series below", "Read the series after.", ("chart",), False),
    Key("chart.hide", "escape", "hide_cursor", "Hide cursor", "Put the cursor away.", ("chart",), False),
    Key(
        "chart.zoom_in",
        "plus,equals_sign",
        "zoom(-1)",
        "Zoom in",
        "Show half as much of the x axis.",
        ("chart",),
        False,
    ),
    Key("chart.zoom_out", "minus", "zoom(1)", "Zoom out", "Show twice as much of the x axis.", ("chart",), False),
    Key("chart.pan_left", "less_than_sign", "pan(-1)", "Pan left", "Look at earlier samples.", ("chart",), False),
    Key("chart.pan_right", "greater_than_sign", "pan(1)", "Pan right", "Look at later samples.", ("chart",), False),
    Key("chart.reset", "0", "reset", "Whole run", "Undo zoom, pan and follow.", ("chart",), False),
    Key("chart.smoother", "s", "smooth(1)", "Smoother", "Give past samples more weight.", ("chart",), False),
    Key("chart.rougher", "S", "smooth(-1)", "Rougher", "Give past samples less weight.", ("chart",), False),
    Key("chart.log", "l", "log_y", "Log y", "Logarithmic or linear y axis.", ("chart",), False),
    Key("chart.axis", "X", "next_axis", "X axis", "Next x axis: step, tokens, time.", ("chart",), False),
    Key("chart.follow", "f", "follow", "Follow", "Keep the newest samples in view.", ("chart",), False),
    # runs
    Key("runs.open", "enter,w", "open", "Attach", "Watch the run under the cursor.", ("runs",)),
    Key("runs.mark", "space", "mark", "Mark", "Mark the run for comparison.", ("runs",)),
    Key("runs.compare", "v", "compare", "Compare", "Compare the marked runs.", ("runs",)),
    Key("runs.logs", "o", "logs", "Log", "Read the log of the run under the cursor.", ("runs",), False),
    Key("runs.chat", "t", "app.go('chat')", "Talk", "Talk to the model of the run under the cursor.", ("runs",), False),
    # what to take away from a run
    Key("run.files", "e", "files", "Report", "Find the report; export the model.", ("monitor", "runs")),
    Key("files.copy", "y", "copy", "Copy", "Copy the path or the command under the cursor.", ("files",)),
    # compare
    Key("compare.choose", "enter", "choose", "Runs", "Choose the runs to compare.", ("compare",)),
    Key("compare.metric", "m", "next_metric", "Metric", "Compare by the next metric.", ("compare",)),
    Key("compare.settings", "d", "settings", "Settings", "Read all settings that differ.", ("compare",)),
    # logs
    Key("logs.search", "slash", "search", "Search", "Search in the log.", ("logs",)),
    Key("logs.next", "n", "next_hit(1)", "Next", "Go to the next hit.", ("logs",)),
    Key("logs.previous", "N", "next_hit(-1)", "Previous", "Go to the hit before.", ("logs",), False),
    Key("logs.errors", "e", "errors", "Errors only", "Show only lines that tell of errors.", ("logs",)),
    Key("logs.follow", "f", "follow", "Follow", "Keep to the end while the log grows.", ("logs",)),
    Key("logs.down", "j,down", "move(1)", "Down", "One line down.", ("logs",), False),
    Key("logs.up", "k,up", "move(-1)", "Up", "One line up.", ("logs",), False),
    Key("logs.page_down", "pagedown,ctrl+f", "page(1)", "Page down", "One page down.", ("logs",), False),
    Key("logs.page_up", "pageup,ctrl+b", "page(-1)", "Page up", "One page up.", ("logs",), False),
    Key("logs.top", "g,home", "top", "Top", "Go to the first line.", ("logs",), False),
    Key("logs.bottom", "G,end", "bottom", "End", "Go to the last line.", ("logs",), False),
    Key("logs.right", "right", "shift(16)", "Right", "Look further to the right.", ("logs",), False),
    Key("logs.left", "left", "shift(-16)", "Left", "Look further to the left.", ("logs",), False),
    # chat
    Key("chat.write", "enter,i", "write", "Write", "Write a message; Esc leaves the field.", ("chat",)),
    Key("chat.stop", "x", "stop", "Stop", "Break off the answer that is being written.", ("chat",)),
    Key("chat.choose", "m", "choose", "Model", "Choose the run and the stage whose checkpoint talks.", ("chat",)),
    Key("chat.beside", "v", "beside", "Beside", "Let a second checkpoint answer beside it, or close it.", ("chat",)),
    Key("chat.settings", "s", "settings", "Settings", "Set temperature, lengths, seed, system prompt.", ("chat",)),
    Key("chat.new", "n", "new", "New", "Begin a new conversation.", ("chat",)),
    Key("chat.reload", "r", "reload", "Load", "Load the newest checkpoint again.", ("chat",)),
    Key("chat.copy", "y", "copy", "Copy", "Copy the conversation.", ("chat",)),
    Key("chat.device", "d", "device", "Device", "Load the model on the CPU or on the GPU.", ("chat",), False),
    # what was said in a chat
    Key("said.down", "j,down", "move(1)", "Down", "One line down.", ("transcript",), False),
    Key("said.up", "k,up", "move(-1)", "Up", "One line up.", ("transcript",), False),
    Key("said.page_down", "pagedown,ctrl+f", "page(1)", "Page down", "One page down.", ("transcript",), False),
    Key("said.page_up", "pageup,ctrl+b", "page(-1)", "Page up", "One page up.", ("transcript",), False),
    Key("said.first", "g,home", "first", "First", "Go to the beginning.", ("transcript",), False),
    Key("said.last", "G,end", "last", "Last", "Go to the end, and follow it.", ("transcript",), False),
    # while a message is typed
    Key("say.send", "enter", "send", "Send", "Send the message.", ("composer",)),
    Key("say.line", "ctrl+j", "new_line", "New line", "Begin a new line.", ("composer",)),
    Key("say.earlier", "up", "recall(-1)", "Earlier", "Bring back the message before.", ("composer",)),
    Key("say.later", "down", "recall(1)", "Later", "Bring back the message after.", ("composer",), False),
    Key("say.stop", "ctrl+x", "stop", "Stop", "Break off the answer that is being written.", ("composer",)),
    Key("say.page_up", "pageup", "scroll(-1)", "Page up", "Look at what was said before.", ("composer",), False),
    Key("say.page_down", "pagedown", "scroll(1)", "Page down", "Look at what was said after.", ("composer",), False),
    Key("say.leave", "escape", "leave_field", "Leave", "Leave the field; then all other keys work.", ("composer",)),
    # while a setting of the chat is typed
    Key("setting.keep", "enter", "submit", "Keep", "Keep all settings.", ("chat-setting",)),
    Key("setting.next", "down", "other(1)", "Next", "Go to the next setting; so does Tab.", ("chat-setting",)),
    Key("setting.previous", "up", "other(-1)", "Previous", "Go to the setting before.", ("chat-setting",)),
    Key("setting.leave", "escape", "leave_field", "Leave", "Leave all settings as they were.", ("chat-setting",)),
    # out-of-memory doctor
    Key(
        "doctor.apply",
        "enter,a",
        "apply",
        "Apply",
        "Apply this change and go on from the last checkpoint.",
        ("doctor",),
    ),
)


# what else has keys on a screen, with its title in the help
PARTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "monitor": (("Charts", "chart"),),
    "compare": (("Charts", "chart"),),
    "runs": (("List", "list"),),
    "doctor": (("List", "list"), ("Dialog", "dialog")),
    "ticks": (("List", "list"), ("Dialog", "dialog")),
    "files": (("List", "list"), ("Dialog", "dialog")),
    "text": (("Dialog", "dialog"),),
    "dialog": (("List", "list"),),
    "chat": (("While a message is typed", "composer"), ("What was said", "transcript")),
    "budget": (("List", "list"), ("Charts", "chart")),
}


def bindings_for(screen: str) -> list[BindingType]:
    """Textual's bindings of one screen (`app`: those that hold everywhere)."""
    return [
        Binding(key.keys, key.action, key.label, show=key.footer, priority=key.priority, tooltip=key.help, id=key.id)
        for key in KEYS
        if screen in key.screens
    ]


def keys_for(screen: str) -> list[Key]:
    """The table's rows of one screen, in their order."""
    return [key for key in KEYS if screen in key.screens]
