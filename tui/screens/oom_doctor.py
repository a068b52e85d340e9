"""The OOM doctor: why memory ran out, where it went, and what to change, each change with its peak and its price."""

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

LEAST_WAYS = 6  # rows: three ways out should be in sight before the breakdown is


class WayList(RowList):
    """The ways out, two lines each."""

    KEYS_OF = "doctor"

    def __init__(self, found: PostMortem) -> None:
        super().__init__()
        self.found = found

    def build(self, width: int) -> Sequence[Row]:
        return [Row(str(i), self._describe(way, width)) for i, way in enumerate(self.found.ways)]

    def _describe(self, way: Suggestion, width: int) -> Content:
        fits = Content.styled("✓ fits     ", "$success") if way.fits else Content.styled("✗ too large", "$error")
        words_of = way.message.partition(":")[0]
        head = Content.styled(f" {clip(words_of, width - 14)}", "bold")
        price = f"{formatting.size(way.peak)} at the peak, {_time(way.time_factor)}"
        if way.changes_model:
            price += ", another model: starts a new run"
        return fits + head + Content("\n            ") + Content.styled(clip(price, width - 12), "$quiet")


class OomDoctor(ModalScreen[None]):
    """What happened above, the ways out below; Enter takes one."""

    BINDINGS = bindings_for("doctor") + bindings_for("dialog")
    KEYS_OF = "doctor"
    CSS = """
    OomDoctor > .dialog { width: 96; max-width: 100%; height: auto; max-height: 100%; padding: 0 1; }
    OomDoctor WayList { height: 4; }
    """

    def __init__(self, run: RunDirectory, history: History, plan: Plan | None, config: RunConfig | None) -> None:
        super().__init__()
        self.run, self.plan, self.config = run, plan, config
        self.found = post_mortem(history, plan, config)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = f"{self.run.name} ran out of memory"
            dialog.border_subtitle = "Enter applies and relaunches · y copies · Esc leaves it stopped · ? help"
            yield Lines(id="story")
            yield WayList(self.found)

    def on_mount(self) -> None:
        ways = self.query_one(WayList)
        ways.rebuild()
        ways.choose("0")
        ways.focus()

    def on_resize(self) -> None:
        """Share the rows there are: the ways out get theirs first, then the story, then the breakdown."""
        width, room = max(20, min(96, self.size.width) - 4), self.size.height - 2
        wanted = max(1, 2 * len(self.found.ways))
        rows = story_rows(self.found, width, True)
        if room - len(rows) < min(wanted, LEAST_WAYS):
            rows = story_rows(self.found, width, False)
        rows = rows[: max(0, room - min(wanted, 2))]
        story, ways = self.query_one("#story", Lines), self.query_one(WayList)
        story.styles.height = len(rows)
        ways.styles.height = min(wanted, max(2, room - len(rows)))
        story.show(lambda width, height: rows)

    @on(OptionList.OptionSelected)
    def _selected(self, _event: OptionList.OptionSelected) -> None:
        self.action_apply()

    def action_apply(self) -> None:
        """Take the way under the cursor and start the run again."""
        chosen = self.query_one(WayList).chosen
        if chosen is None:
            return
        way = self.found.ways[int(chosen)]
        console = console_of(self)
        effect = f"peak {formatting.size(way.peak)}, {_time(way.time_factor)}"

        def then(started: RunDirectory) -> None:
            console.watch_run(started)

        self.dismiss()
        actions.relaunch_with(console, self.run, way.change or {}, effect, then)

    def action_copy(self) -> None:
        lines = [f"{self.run.name} ran out of memory", *_story(self.found)]
        lines += [f"{way.message}, {_time(way.time_factor)}: {_settings(way)}" for way in self.found.ways]
        actions.copy_text(console_of(self), "\n".join(lines), "oom.txt")


def story_rows(found: PostMortem, width: int, breakdown: bool) -> list[Content]:
    """What happened, where the memory went if there is room for it, and the heading of what follows."""
    first, *rest = _story(found)
    rows = [Content.styled(line, "bold") for line in textwrap.wrap(first, width)]
    rows += [Content(line) for line in textwrap.wrap(" ".join(rest), width)]
    memory = found.predicted
    if memory is not None and breakdown:
        rows += [Content(""), panels.heading("Where the memory goes", width, "predicted at the peak")]
        total = max(memory.total, 1)
        bar = max(8, width - 30)
        for name in COMPONENTS:
            size = int(getattr(memory, name))
            full = min(bar, round(bar * size / total))
            picture = Content.styled("█" * full, f"$vram-{name}") + Content.styled("╌" * (bar - full), "$faint")
            label = Content(f"{name:<12}") + Content.styled(f"{formatting.size(size):>10} ", "bold")
            rows.append(label + picture + Content.styled(f"{formatting.percent(size / total):>6}", "$quiet"))
    rows += [Content(""), panels.heading("Ways out", width, "best first")]
    if not found.ways:
        rows.append(Content("None is known: the run has no plan that can be read, or nothing smaller is valid."))
        rows.append(Content("Change its run.toml, then resume it."))
    return rows


def _story(found: PostMortem) -> list[str]:
    where = f" in {found.phase}" if found.phase else ""
    first = f"At step {found.step:,}{where}"
    if found.requested:
        first += f", {formatting.size(found.requested)} more were asked for"
    held = f"{formatting.size(found.allocated)} were held" if found.allocated else "what was held is not known"
    lines = [f"{first}.", f"{held} of {formatting.size(found.capacity)}."]
    if found.predicted is not None:
        needed = f", at least {formatting.size(found.needed)} were needed" if found.needed else ""
        off = f": {formatting.percent(found.scale - 1)} more; the ways out count that in" if found.scale > 1.005 else ""
        lines.append(
            f"{formatting.size(found.predicted.total)} were predicted ({found.predicted.peak_phase}){needed}{off}."
        )
    back = (
        "There is no checkpoint: it starts over."
        if found.checkpoint is None
        else (f"It goes on from the checkpoint of step {found.checkpoint:,}.")
    )
    lines.append(back)
    return lines


def _time(factor: float) -> str:
    if abs(factor - 1) < 0.005:
        return "no slower"
    return f"{formatting.percent(abs(factor - 1))} {'slower' if factor > 1 else 'faster'} a token"


def _settings(way: Suggestion) -> str:
    return " ".join(f"--set {path}={value}" for path, value in (way.change or {}).items())
