"""The table of keys, from which Textual's bindings, the footer, the help screen and the palette are made."""

from collections.abc import Mapping
from typing import NamedTuple

from textual.binding import Binding, BindingType

EVERYWHERE = "app"
RUN_SCREENS = ("monitor", "logs", "doctor")


class Key(NamedTuple):
    """A command and its keys. `id` is the name under which config.toml remaps it."""

    id: str
    keys: str  # Textual's names, comma-separated; the first is shown
    action: str  # method action_<action> of the screen, or of the app with the prefix `app.`
    label: str  # one or two words, for the footer
    help: str  # one sentence, for help and palette
    screens: tuple[str, ...]
    footer: bool = True
    priority: bool = False  # takes effect before the focused widget, and in dialogs


KEYS: tuple[Key, ...] = (
    # everywhere
    Key(
        "go.plan",
        "1",
        "app.go('plan')",
        "Plan",
        "Choose GPU, preset and settings, and see the plan.",
        ("app",),
        False,
    ),
    Key("go.review", "2", "app.go('review')", "Review", "Review the launch of the current plan.", ("app",), False),
    Key("go.monitor", "3", "app.go('monitor')", "Monitor", "Watch a run: status, charts, machine.", ("app",), False),
    Key("go.runs", "4", "app.go('runs')", "Runs", "List all runs and their states.", ("app",), False),
    Key("go.compare", "5", "app.go('compare')", "Compare", "Compare two to four runs in one chart.", ("app",), False),
    Key("go.logs", "6", "app.go('logs')", "Logs", "Read the engine log of a run.", ("app",), False),
    Key(
        "go.chat",
        "7",
        "app.go('chat')",
        "Chat",
        "Chat with the model of a run, or compare two models.",
        ("app",),
        False,
    ),
    Key("app.back", "escape", "app.back", "Back", "Go back to the previous screen.", ("app",), False),
    Key("app.palette", "colon,ctrl+p", "app.command_palette", "Palette", "Find a command by name.", ("app",)),
    Key(
        "app.help",
        "question_mark",
        "app.help",
        "Help",
        "Show the keys of this screen.",
        ("app", "dialog"),
    ),
    Key("app.theme", "ctrl+t", "app.next_theme", "Theme", "Switch to the next color theme.", ("app",), False),
    Key("app.leave", "q,ctrl+c", "app.leave", "Quit", "Quit the console; training continues.", ("app",)),
    Key(
        "app.leave_now",
        "ctrl+q",
        "app.leave",
        "Quit now",
        "Quit the console, also from a dialog.",
        ("app",),
        False,
        True,
    ),
    Key("dialog.close", "escape,q,ctrl+c", "app.back", "Close", "Close this dialog.", ("dialog",), False),
    # text in a dialog
    Key("text.down", "j,down", "scroll_down", "Down", "Scroll down.", ("text",), False),
    Key("text.up", "k,up", "scroll_up", "Up", "Scroll up.", ("text",), False),
    Key("text.page_down", "pagedown,ctrl+f", "page_down", "Page down", "Scroll down one page.", ("text",), False),
    Key("text.page_up", "pageup,ctrl+b", "page_up", "Page up", "Scroll up one page.", ("text",), False),
    Key("text.first", "g,home", "scroll_home", "First", "Go to the start.", ("text",), False),
    Key("text.last", "G,end", "scroll_end", "Last", "Go to the end.", ("text",), False),
    # a list of check boxes
    Key("ticks.tick", "space", "toggle_item", "Select", "Select or clear the item under the cursor.", ("checklist",)),
    Key("ticks.take", "enter", "confirm", "Confirm", "Confirm the selection.", ("checklist",)),
    # plan
    Key("plan.preset", "p", "choose_preset", "Preset", "Choose the preset to start from.", ("plan",)),
    Key("plan.gpu", "d", "choose_gpu", "GPU", "Choose the GPU to plan for.", ("plan",)),
    Key("plan.edit", "enter,e", "edit", "Edit", "Edit the setting under the cursor.", ("plan",)),
    Key(
        "plan.more",
        "right,plus",
        "step(1)",
        "Increase",
        "Increase the value, or select the next choice.",
        ("plan",),
        False,
    ),
    Key(
        "plan.less",
        "left,minus",
        "step(-1)",
        "Decrease",
        "Decrease the value, or select the previous choice.",
        ("plan",),
        False,
    ),
    Key(
        "plan.reset",
        "backspace,delete",
        "reset",
        "Reset",
        "Reset the setting to the value of the preset.",
        ("plan",),
        False,
    ),
    Key("plan.fix", "f", "fix", "Fix", "Apply the fix for the warning shown.", ("plan",), False),
    Key("plan.next_warning", "w", "next_warning", "Next warning", "Show the next warning.", ("plan",), False),
    Key("plan.undo", "u", "undo", "Undo", "Undo the last change.", ("plan",), False),
    Key("plan.save", "s", "save", "Save", "Save these settings as your own preset.", ("plan",), False),
    Key("plan.launch", "L", "review", "Launch", "Review the launch; nothing starts until you confirm.", ("plan",)),
    Key("plan.budget", "b", "budget", "Budget", "Find the best model for a number of hours.", ("plan",)),
    # the budget view
    Key("budget.adopt", "enter,a", "adopt", "Use", "Use the model under the cursor in the plan.", ("budget",)),
    Key("budget.hours", "h", "field('hours')", "Hours", "Edit the number of hours.", ("budget",)),
    Key("budget.price", "p", "field('price')", "Price", "Edit the price per hour.", ("budget",)),
    Key("budget.models", "enter", "submit", "Models", "Go to the list of models.", ("budget-field",)),
    Key("budget.other", "tab", "app.focus_next", "Next", "Go to the next field.", ("budget-field",)),
    Key("budget.leave", "escape", "app.back", "Back", "Go back to the plan.", ("budget-field",)),
    # while editing a setting
    Key("edit.keep", "enter", "submit", "Accept", "Accept the value.", ("edit",)),
    Key("edit.nearest", "tab", "nearest", "Nearest", "Use the nearest valid value.", ("edit",)),
    Key("edit.more", "up", "step(1)", "Increase", "Increase the value, or select the next choice.", ("edit",)),
    Key("edit.less", "down", "step(-1)", "Decrease", "Decrease the value, or select the previous choice.", ("edit",)),
    Key("edit.cancel", "escape", "cancel", "Cancel", "Discard the change.", ("edit",)),
    # lists
    Key("list.down", "j", "cursor_down", "Down", "Move down; the arrow keys work as well.", ("list",), False),
    Key("list.up", "k", "cursor_up", "Up", "Move up.", ("list",), False),
    Key("list.first", "g", "first", "First", "Go to the first row.", ("list",), False),
    Key("list.last", "G", "last", "Last", "Go to the last row.", ("list",), False),
    # launch review
    Key("review.launch", "enter", "launch", "Launch", "Start the run; it continues after you quit.", ("review",)),
    Key("review.name", "n", "rename", "Name", "Change the name of the run.", ("review",)),
    Key("review.copy", "y", "copy_command", "Copy", "Copy the equivalent command.", ("review",)),
    Key(
        "review.whole",
        "t",
        "toggle_whole",
        "Full TOML",
        "Show the full configuration, or only the changes.",
        ("review",),
    ),
    Key("plan.export", "E", "export", "Export", "Write the full configuration as TOML.", ("plan", "review")),
    Key("review.down", "down,j", "scroll(3)", "Down", "Scroll down.", ("review",), False),
    Key("review.up", "up,k", "scroll(-3)", "Up", "Scroll up.", ("review",), False),
    Key("review.page_down", "pagedown,ctrl+f", "page(1)", "Page down", "Scroll down one page.", ("review",), False),
    Key("review.page_up", "pageup,ctrl+b", "page(-1)", "Page up", "Scroll up one page.", ("review",), False),
    Key("review.first", "g,home", "first", "First", "Go to the start.", ("review",), False),
    Key("review.last", "G,end", "last", "Last", "Go to the end.", ("review",), False),
    Key("name.keep", "enter", "submit", "Accept", "Accept the name.", ("name",)),
    Key("name.leave", "escape", "leave_field", "Done", "Leave the field.", ("name",)),
    # a run
    Key("run.checkpoint", "c", "checkpoint", "Checkpoint", "Write a checkpoint at the next step.", ("monitor", "runs")),
    Key("run.stop", "x", "stop", "Stop", "Stop the run, after a checkpoint or immediately.", ("monitor", "runs")),
    Key("run.resume", "r", "resume", "Resume", "Resume from the last checkpoint.", ("monitor", "runs")),
    Key("run.stages", "R", "stages", "Stages", "Choose stages to run or rerun.", ("monitor", "runs")),
    Key(
        "run.copy",
        "y",
        "copy",
        "Copy",
        "Copy the contents of this screen as text.",
        ("monitor", "logs", "doctor", "compare"),
    ),
    Key("monitor.metric", "m", "next_metric", "Metric", "Show the next metric in the main chart.", ("monitor",)),
    Key(
        "monitor.advice",
        "a",
        "advice",
        "Advice",
        "Show all advice, and compare the plan with the measurements.",
        ("monitor",),
    ),
    Key("monitor.samples", "p", "samples", "Samples", "Show the latest samples in full.", ("monitor",), False),
    Key(
        "monitor.doctor",
        "o",
        "doctor",
        "OOM doctor",
        "Open the OOM doctor for a run that ran out of memory.",
        ("monitor",),
        False,
    ),
    # charts
    Key(
        "chart.left", "left", "cursor(-1)", "Cursor left", "Move the cursor to the previous sample.", ("chart",), False
    ),
    Key("chart.right", "right", "cursor(1)", "Cursor right", "Move the cursor to the next sample.", ("chart",), False),
    Key("chart.up", "up", "switch(-1)", "Series above", "Move the cursor to the previous series.", ("chart",), False),
    Key("chart.down", "down", "switch(1)", "Series below", "Move the cursor to the next series.", ("chart",), False),
    Key("chart.hide", "escape", "hide_cursor", "Hide cursor", "Hide the cursor.", ("chart",), False),
    Key(
        "chart.zoom_in",
        "plus,equals_sign",
        "zoom(-1)",
        "Zoom in",
        "Show half the range of the x axis.",
        ("chart",),
        False,
    ),
    Key("chart.zoom_out", "minus", "zoom(1)", "Zoom out", "Show twice the range of the x axis.", ("chart",), False),
    Key("chart.pan_left", "less_than_sign", "pan(-1)", "Pan left", "Show earlier samples.", ("chart",), False),
    Key("chart.pan_right", "greater_than_sign", "pan(1)", "Pan right", "Show later samples.", ("chart",), False),
    Key("chart.reset", "0", "reset", "Whole run", "Reset zoom, pan and follow.", ("chart",), False),
    Key("chart.smoother", "s", "smooth(1)", "Smoother", "Increase the smoothing.", ("chart",), False),
    Key("chart.rougher", "S", "smooth(-1)", "Rougher", "Decrease the smoothing.", ("chart",), False),
    Key("chart.log", "l", "log_y", "Log y", "Switch the y axis between linear and logarithmic.", ("chart",), False),
    Key(
        "chart.axis", "X", "next_axis", "X axis", "Switch the x axis between step, tokens and time.", ("chart",), False
    ),
    Key("chart.follow", "f", "follow", "Follow", "Keep the newest samples in view.", ("chart",), False),
    # runs
    Key("runs.open", "enter,w", "open", "Attach", "Watch the run under the cursor.", ("runs",)),
    Key("runs.mark", "space", "mark", "Mark", "Mark the run for comparison.", ("runs",)),
    Key("runs.compare", "v", "compare", "Compare", "Compare the marked runs.", ("runs",)),
    Key("runs.logs", "o", "logs", "Log", "Read the log of the run under the cursor.", ("runs",), False),
    Key(
        "runs.chat", "t", "app.go('chat')", "Chat", "Chat with the model of the run under the cursor.", ("runs",), False
    ),
    # report and export
    Key("run.files", "e", "files", "Report", "Show the report files and the export commands.", ("monitor", "runs")),
    Key("files.copy", "y", "copy", "Copy", "Copy the path or the command under the cursor.", ("files",)),
    # compare
    Key("compare.choose", "enter", "choose", "Runs", "Choose the runs to compare.", ("compare",)),
    Key("compare.metric", "m", "next_metric", "Metric", "Show the next metric.", ("compare",)),
    Key("compare.settings", "d", "settings", "Settings", "Show all settings that differ.", ("compare",)),
    # logs
    Key("logs.search", "slash", "search", "Search", "Search the log.", ("logs",)),
    Key("logs.next", "n", "next_hit(1)", "Next", "Go to the next match.", ("logs",)),
    Key("logs.previous", "N", "next_hit(-1)", "Previous", "Go to the previous match.", ("logs",), False),
    Key("logs.errors", "e", "errors", "Errors only", "Show only errors and warnings.", ("logs",)),
    Key("logs.follow", "f", "follow", "Follow", "Follow the end of the log as it grows.", ("logs",)),
    Key("logs.down", "j,down", "move(1)", "Down", "Move down one line.", ("logs",), False),
    Key("logs.up", "k,up", "move(-1)", "Up", "Move up one line.", ("logs",), False),
    Key("logs.page_down", "pagedown,ctrl+f", "page(1)", "Page down", "Move down one page.", ("logs",), False),
    Key("logs.page_up", "pageup,ctrl+b", "page(-1)", "Page up", "Move up one page.", ("logs",), False),
    Key("logs.top", "g,home", "top", "Top", "Go to the first line.", ("logs",), False),
    Key("logs.bottom", "G,end", "bottom", "End", "Go to the last line.", ("logs",), False),
    Key("logs.right", "right", "shift(16)", "Right", "Scroll to the right.", ("logs",), False),
    Key("logs.left", "left", "shift(-16)", "Left", "Scroll to the left.", ("logs",), False),
    # chat
    Key("chat.write", "enter,i", "write", "Write", "Write a message; Esc leaves the field.", ("chat",)),
    Key("chat.stop", "x", "stop", "Stop", "Stop the current answer.", ("chat",)),
    Key("chat.choose", "m", "choose", "Model", "Choose the checkpoint to chat with.", ("chat",)),
    Key("chat.beside", "v", "beside", "Compare", "Compare with a second checkpoint, or close it.", ("chat",)),
    Key("chat.settings", "s", "settings", "Settings", "Set temperature, lengths, seed and system prompt.", ("chat",)),
    Key("chat.new", "n", "new", "New", "Start a new conversation.", ("chat",)),
    Key("chat.reload", "r", "reload", "Reload", "Load the newest checkpoint.", ("chat",)),
    Key("chat.copy", "y", "copy", "Copy", "Copy the conversation.", ("chat",)),
    Key("chat.device", "d", "device", "Device", "Load the model on the CPU or the GPU.", ("chat",), False),
    # the transcript of a chat
    Key("said.down", "j,down", "move(1)", "Down", "Scroll down one line.", ("transcript",), False),
    Key("said.up", "k,up", "move(-1)", "Up", "Scroll up one line.", ("transcript",), False),
    Key("said.page_down", "pagedown,ctrl+f", "page(1)", "Page down", "Scroll down one page.", ("transcript",), False),
    Key("said.page_up", "pageup,ctrl+b", "page(-1)", "Page up", "Scroll up one page.", ("transcript",), False),
    Key("said.first", "g,home", "first", "First", "Go to the start.", ("transcript",), False),
    Key("said.last", "G,end", "last", "Last", "Go to the end and follow new text.", ("transcript",), False),
    # while typing a message
    Key("say.send", "enter", "send", "Send", "Send the message.", ("composer",)),
    Key("say.line", "ctrl+j", "new_line", "New line", "Start a new line.", ("composer",)),
    Key("say.earlier", "up", "recall(-1)", "Earlier", "Recall the previous message.", ("composer",)),
    Key("say.later", "down", "recall(1)", "Later", "Recall the next message.", ("composer",), False),
    Key("say.stop", "ctrl+x", "stop", "Stop", "Stop the current answer.", ("composer",)),
    Key("say.page_up", "pageup", "scroll(-1)", "Page up", "Scroll up in the conversation.", ("composer",), False),
    Key(
        "say.page_down", "pagedown", "scroll(1)", "Page down", "Scroll down in the conversation.", ("composer",), False
    ),
    Key("say.leave", "escape", "leave_field", "Leave", "Leave the field; all other keys work again.", ("composer",)),
    # while typing a chat setting
    Key("setting.keep", "enter", "submit", "Save", "Save all settings.", ("chat-setting",)),
    Key("setting.next", "down", "other(1)", "Next", "Go to the next setting; Tab works as well.", ("chat-setting",)),
    Key("setting.previous", "up", "other(-1)", "Previous", "Go to the previous setting.", ("chat-setting",)),
    Key("setting.leave", "escape", "leave_field", "Cancel", "Discard the changes.", ("chat-setting",)),
    # out-of-memory doctor
    Key(
        "doctor.apply",
        "enter,a",
        "apply",
        "Apply",
        "Apply this change and resume from the last checkpoint.",
        ("doctor",),
    ),
)


# the other parts of a screen that have keys, with their titles in the help
PARTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "monitor": (("Charts", "chart"),),
    "compare": (("Charts", "chart"),),
    "runs": (("List", "list"),),
    "doctor": (("List", "list"), ("Dialog", "dialog")),
    "checklist": (("List", "list"), ("Dialog", "dialog")),
    "files": (("List", "list"), ("Dialog", "dialog")),
    "text": (("Dialog", "dialog"),),
    "dialog": (("List", "list"),),
    "chat": (("While typing a message", "composer"), ("Conversation", "transcript")),
    "budget": (("List", "list"), ("Charts", "chart")),
}


def bindings_for(screen: str) -> list[BindingType]:
    """Textual's bindings of one screen (`app`: those that work everywhere)."""
    return [
        Binding(key.keys, key.action, key.label, show=key.footer, priority=key.priority, tooltip=key.help, id=key.id)
        for key in KEYS
        if screen in key.screens
    ]


def keys_for(screen: str) -> list[Key]:
    """The rows of the table for one screen, in order."""
    return [key for key in KEYS if screen in key.screens]
