"""The OOM doctor: why memory ran out, how it was used, and the fixes, each with its peak memory and its cost."""

import textwrap
from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList

from engine.config.schema import RunConfig
from engine.core import formatting
from engine.diagnostics.oom import PostMortem, post_mortem
from engine.events.history import History
from engine.plan.advice import Suggestion
from engine.plan.memory import COMPONENTS
from engine.plan.plan import Plan
from engine.run.directory import RunDirectory
from tui import actions
from tui.console import console_of
from tui.keys.bindings import bindings_for
from tui.runs import panels
from tui.widgets.lines import Lines
from tui.widgets.rows import Row, RowList, clip

LEAST_FIX_ROWS = 6  # three fixes should be visible before the breakdown is


class FixList(RowList):
    """The fixes, two lines each."""

    KEYS_OF = "doctor"

    def __init__(self, found: PostMortem) -> None:
        super().__init__()
        self.found = found

    def build(self, width: int) -> Sequence[Row]:
        return [Row(str(i), self._describe(fix, width)) for i, fix in enumerate(self.found.ways)]

    def _describe(self, fix: Suggestion, width: int) -> Content:
        fits = Content.styled("✓ fits     ", "$success") if fix.fits else Content.styled("✗ too large", "$error")
        what = fix.message.partition(":")[0]
        head = Content.styled(f" {clip(what, width - 14)}", "bold")
        cost = f"peak {formatting.size(fix.peak)}, {_time(fix.time_factor)}"
        if fix.changes_model:
            cost += ", changes the model: starts a new run"
        return fits + head + Content("\n            ") + Content.styled(clip(cost, width - 12), "$quiet")


class OomDoctor(ModalScreen[None]):
    """What happened above, the fixes below; Enter applies one."""

    BINDINGS = bindings_for("doctor") + bindings_for("dialog")
    KEYS_OF = "doctor"
    CSS = """
    OomDoctor > .dialog { width: 96; max-width: 100%; height: auto; max-height: 100%; padding: 0 1; }
    OomDoctor FixList { height: 4; }
    """

    def __init__(self, run: RunDirectory, history: History, plan: Plan | None, config: RunConfig | None) -> None:
        super().__init__()
        self.run, self.plan, self.config = run, plan, config
        self.found = post_mortem(history, plan, config)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = f"{self.run.name} ran out of memory"
            dialog.border_subtitle = "Enter apply and relaunch · y copy · Esc close · ? help"
            yield Lines(id="story")
            yield FixList(self.found)

    def on_mount(self) -> None:
        fixes = self.query_one(FixList)
        fixes.rebuild()
        fixes.choose("0")
        fixes.focus()

    def on_resize(self) -> None:
        """Divide the rows: first the fixes, then the story, then the breakdown."""
        width, room = max(20, min(96, self.size.width) - 4), self.size.height - 2
        wanted = max(1, 2 * len(self.found.ways))
        rows = story_rows(self.found, width, True)
        if room - len(rows) < min(wanted, LEAST_FIX_ROWS):
            rows = story_rows(self.found, width, False)
        rows = rows[: max(0, room - min(wanted, 2))]
        story, fixes = self.query_one("#story", Lines), self.query_one(FixList)
        story.styles.height = len(rows)
        fixes.styles.height = min(wanted, max(2, room - len(rows)))
        story.show(lambda width, height: rows)

    @on(OptionList.OptionSelected)
    def _selected(self, _event: OptionList.OptionSelected) -> None:
        self.action_apply()

    def action_apply(self) -> None:
        """Apply the fix under the cursor and start the run again."""
        chosen = self.query_one(FixList).chosen
        if chosen is None:
            return
        fix = self.found.ways[int(chosen)]
        console = console_of(self)
        effect = f"peak {formatting.size(fix.peak)}, {_time(fix.time_factor)}"

        def then(started: RunDirectory) -> None:
            console.watch_run(started)

        self.dismiss()
        actions.relaunch_with(console, self.run, fix.change or {}, effect, then)

    def action_copy(self) -> None:
        lines = [f"{self.run.name} ran out of memory", *_story(self.found)]
        lines += [f"{fix.message}, {_time(fix.time_factor)}: {_settings(fix)}" for fix in self.found.ways]
        actions.copy_text(console_of(self), "\n".join(lines), "oom.txt")


def story_rows(found: PostMortem, width: int, breakdown: bool) -> list[Content]:
    """What happened, the memory by component if it fits, and the heading of the fixes."""
    first, *rest = _story(found)
    rows = [Content.styled(line, "bold") for line in textwrap.wrap(first, width)]
    rows += [Content(line) for line in textwrap.wrap(" ".join(rest), width)]
    memory = found.predicted
    if memory is not None and breakdown:
        rows += [Content(""), panels.heading("Memory by component", width, "predicted at the peak")]
        total = max(memory.total, 1)
        bar = max(8, width - 30)
        for name in COMPONENTS:
            size = int(getattr(memory, name))
            full = min(bar, round(bar * size / total))
            shown = Content.styled("█" * full, f"$vram-{name}") + Content.styled("╌" * (bar - full), "$faint")
            label = Content(f"{name:<12}") + Content.styled(f"{formatting.size(size):>10} ", "bold")
            rows.append(label + shown + Content.styled(f"{formatting.percent(size / total):>6}", "$quiet"))
    rows += [Content(""), panels.heading("Fixes", width, "best first")]
    if not found.ways:
        rows.append(Content("No fix is known: the plan of the run cannot be read, or no smaller setting is valid."))
        rows.append(Content("Edit run.toml of the run, then resume it."))
    return rows


def _story(found: PostMortem) -> list[str]:
    where = f" in {found.phase}" if found.phase else ""
    first = f"Step {found.step:,} ran out of memory{where}"
    if found.requested:
        first += f" while allocating {formatting.size(found.requested)}"
    capacity = formatting.size(found.capacity)
    used = f"{formatting.size(found.allocated)} of {capacity}" if found.allocated else f"unknown, capacity {capacity}"
    lines = [f"{first}.", f"In use: {used}."]
    if found.predicted is not None:
        needed = f"; needed: at least {formatting.size(found.needed)}" if found.needed else ""
        off = f", {formatting.percent(found.scale - 1)} more. The fixes account for that" if found.scale > 1.005 else ""
        predicted = formatting.size(found.predicted.total)
        lines.append(f"Predicted peak: {predicted} ({found.predicted.peak_phase}){needed}{off}.")
    back = (
        "There is no checkpoint, so the run starts over."
        if found.checkpoint is None
        else f"The run resumes from the checkpoint of step {found.checkpoint:,}."
    )
    lines.append(back)
    return lines


def _time(factor: float) -> str:
    if abs(factor - 1) < 0.005:
        return "same speed"
    return f"{formatting.percent(abs(factor - 1))} {'slower' if factor > 1 else 'faster'} per token"


def _settings(fix: Suggestion) -> str:
    return " ".join(f"--set {path}={value}" for path, value in (fix.change or {}).items())
