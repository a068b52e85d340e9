"""Launch review: exactly what will run, what differs from the preset, and what prevents it. Starts what it shows."""

from collections.abc import Iterable

from textual import on, work
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.config.layers import to_toml
from engine.core import formatting
from engine.core.diagnostic import Diagnostic, by_severity, checked, refused
from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import runs_home
from engine.launch.prepare import Launch, prepare, try_device
from engine.launch.start import start
from engine.run.directory import RunDirectory, free_name, require_free
from tui.keys.bindings import bindings_for
from tui.planning.choices import Here
from tui.planning.draft import Draft, command, command_line
from tui.planning.formulas import time_range
from tui.planning.setting_fields import to_text
from tui.planning.stage_table import header, stage_rows
from tui.screens.base import ConsoleScreen
from tui.screens.plan.save_dialogs import export
from tui.terminal.background import read_in_background
from tui.terminal.clipboard import copy
from tui.widgets.diagnostic_rows import check_line

# fixes that the keys of this screen offer, in addition to those of the check
KEYS = {
    "device": "E writes the TOML for that machine; d on the Plan screen plans for this CPU.",
    "name": "Press n to choose another name.",
}

INDENT = 15  # cells before the text of a check


class NameField(Input):
    """The run's name, while it is typed."""

    KEYS_OF = "name"
    BINDINGS = bindings_for("name")

    def action_leave_field(self) -> None:
        self.screen.set_focus(None)


class ReviewScreen(ConsoleScreen):
    """Shown over the Plan screen, for one draft that does not change. Enter starts the run and shows its Monitor."""

    MODE = "review"
    KEYS_OF = "review"
    BINDINGS = bindings_for("review")
    CSS_PATH = "review.tcss"
    AUTO_FOCUS = ""

    def __init__(self, draft: Draft, here: Here) -> None:
        super().__init__()
        self.draft = draft
        self.plan = here.plan(draft.config)  # until the launch is prepared
        self.launch: Launch | None = None  # what Enter starts
        self.run_name = free_name(draft.config.about.preset)
        self.checks: tuple[Diagnostic, ...] | None = None
        self.trying = ""  # what is being checked and takes seconds
        self.whole = False
        self.launching = False  # Enter was pressed: starts as soon as everything is checked

    def compose_body(self) -> Iterable[Widget]:
        yield Static(id="verdict")
        with VerticalScroll(id="review", can_focus=False):
            with Horizontal(id="name-row"):
                yield Static("Run", classes="heading")
                yield NameField(self.run_name, id="name", select_on_focus=False)
            yield Static(id="where")
            yield Static(id="checks")
            yield Static(Content.styled("The stages", "bold $secondary"), classes="heading")
            yield Static(id="stages", markup=False)
            yield Static(Content.styled("Equivalent command", "bold $secondary"), classes="heading")
            yield Static(id="command", markup=False)
            yield Static(id="changes-title", classes="heading")
            yield Static(id="toml", markup=False)

    def on_mount(self) -> None:
        self.show_about("nothing runs yet")
        self._prepare()

    def on_resize(self) -> None:
        self._show()

    # what is checked

    def _prepare(self) -> None:
        """Prepare the launch in a thread: a disk or a driver may be slow to answer."""
        config = self.draft.config

        def show(launch: Launch, trying: str = "") -> None:
            self.app.call_from_thread(self._prepared, launch, trying)

        def work() -> None:
            try:
                launch = prepare(config)
                # what took milliseconds is shown while the device takes seconds
                show(try_device(launch, lambda trying: show(launch, trying)))
            except NanosoloError as error:
                self.app.call_from_thread(self._not_prepared, error)

        read_in_background(self, work)

    def _prepared(self, launch: Launch, trying: str) -> None:
        self.launch, self.plan, self.checks, self.trying = launch, launch.plan, launch.checks, trying
        if self.is_attached:
            self._show()
            if self.launching and not trying:
                self._start_or_refuse()

    def _not_prepared(self, error: NanosoloError) -> None:
        self.launch, self.checks, self.trying, self.launching = None, (refused("plan", error),), "", False
        if self.is_attached:
            self._show()

    @property
    def findings(self) -> list[Diagnostic]:
        """All checks, the most severe first: the name, this machine, and stages that do not fit."""
        found = [_check_name(self.run_name), *(self.checks or ())]
        for warning in self.plan.warnings:
            if warning.code.endswith("does_not_fit"):
                help = f"{warning.help}; press f on the Plan screen to apply it" if warning.change else warning.help
                found.append(checked("plan", "warning", warning.message.rstrip("."), help))
        return by_severity(found)

    @property
    def refusals(self) -> list[Diagnostic]:
        """What prevents the launch."""
        return [check for check in self.findings if check.severity == "error"]

    # what is shown

    def _show(self) -> None:
        self.query_one("#verdict", Static).update(self._verdict())
        where = f"in {runs_home() / self.run_name}"
        self.query_one("#where", Static).update(Content.styled(where, "$quiet"))
        width = self.size.width - 6
        lines = [check_line(check, INDENT, width, _more(check)) for check in self.findings]
        self.query_one("#checks", Static).update(Content("\n").join(lines))
        rows = [Content.styled(header(), "$quiet"), *(Content(row.line) for row in stage_rows(self.plan))]
        self.query_one("#stages", Static).update(Content("\n").join(rows))
        self.query_one("#command", Static).update(Content(command_line(self.command_words)))
        self._show_toml()

    def _show_toml(self) -> None:
        preset = self.draft.config.about.preset
        title = f"All of run.toml, as it will be written (t: only the changes to {preset})"
        if not self.whole:
            title = f"What differs from {preset} (t: all of run.toml)"
        self.query_one("#changes-title", Static).update(Content.styled(title, "bold $secondary"))
        self.query_one("#toml", Static).update(self._whole() if self.whole else self._changes())

    @property
    def command_words(self) -> list[str]:
        """The words of the command line of this run."""
        return command(self.draft, self.run_name)

    def _verdict(self) -> Content:
        if self.refusals:
            return Content.styled("✗ Cannot launch here: ", "bold $error") + Content(f"{self.refusals[0].message}.")
        if self.checks is None:
            return Content.styled("checking this machine …", "$quiet")
        if self.trying:
            return Content.styled(self.trying.replace("...", "…"), "$quiet")
        if self.launching:
            return Content.styled("starting the runner …", "bold $primary")
        noted = list(dict.fromkeys(check.subject for check in self.findings if check.severity == "warning"))
        ready = Content.styled("✓ Ready. ", "bold $success")
        if noted:
            ready = Content.styled(f"! Ready, with warnings: {', '.join(noted)}. ", "bold $warning")
        whole = self.plan.pipeline
        cost = f", costs {formatting.money(whole.cost)}" if whole.cost is not None else ""
        every = f"; all stages {formatting.hours_range(whole.low_hours, whole.high_hours)}{cost}. "
        what = f"{self.plan.steps:,} steps, {time_range(self.plan)}{every}"
        return ready + Content(what) + Content.styled("Enter", "bold $primary") + Content(" launches.")

    def _changes(self) -> Content:
        lines = []
        for path, before, now in self.draft.changes():
            lines.append(Content.styled(f"- {path} = {to_text(before) or 'not set'}", "$error"))
            lines.append(Content.styled(f"+ {path} = {to_text(now) or 'not set'}", "$success"))
        return Content("\n").join(lines) if lines else Content.styled("Nothing: the preset is unchanged.", "$quiet")

    def _whole(self) -> Content:
        changed = {path for path, _, _ in self.draft.changes()}
        lines, section = [], ""
        for line in to_toml(self.draft.config).splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            path = f"{section}.{line.partition(' = ')[0]}"
            style = "$success" if path in changed else "bold $secondary" if line.startswith("[") else ""
            lines.append(Content.styled(line, style))
        return Content("\n").join(lines)

    # what keys do

    def action_rename(self) -> None:
        self.query_one(NameField).focus()

    @on(Input.Changed, "#name")
    def _named(self, event: Input.Changed) -> None:
        self.run_name = event.value.strip()
        self._show()

    @on(Input.Submitted, "#name")
    def _name_taken(self) -> None:
        self.set_focus(None)

    def action_toggle_whole(self) -> None:
        self.whole = not self.whole
        self._show_toml()
        self.call_after_refresh(self._to_the_toml)

    def _to_the_toml(self) -> None:
        """It may be below the visible part."""
        self._scroll.scroll_to_widget(self.query_one("#changes-title"), top=True, animate=False)

    def action_copy_command(self) -> None:
        self.console.tell(copy(self.console, command_line(self.command_words), "command.sh"))

    def action_export(self) -> None:
        export(self.console, self.draft)

    @property
    def _scroll(self) -> VerticalScroll:
        return self.query_one("#review", VerticalScroll)

    def action_scroll(self, rows: int) -> None:
        self._scroll.scroll_relative(y=rows, animate=False)

    def action_page(self, pages: int) -> None:
        self._scroll.scroll_relative(y=pages * self._scroll.size.height, animate=False)

    def action_first(self) -> None:
        self._scroll.scroll_home(animate=False)

    def action_last(self) -> None:
        self._scroll.scroll_end(animate=False)

    def action_launch(self) -> None:
        if self.launching:
            return
        self.launching = True
        if self.refusals or (self.launch is not None and not self.trying):
            self._start_or_refuse()

    def _start_or_refuse(self) -> None:
        """Start what is shown, or say what prevents it and check again: it may be fixed by now."""
        refusals = self.refusals
        if refusals or self.launch is None:
            self.launching = False
            if refusals:
                self.console.tell(f"{refusals[0]} {_more(refusals[0])}".rstrip(), "error")
            if self.checks is not None:
                self._prepare()
            return
        self.query_one("#verdict", Static).update(self._verdict())
        self._start(self.launch, self.run_name)

    @work(thread=True, exit_on_error=False)
    def _start(self, launch: Launch, name: str) -> None:
        try:
            run = start(launch, name)
        except NanosoloError as error:
            self.app.call_from_thread(self._failed, error)
            return
        self.app.call_from_thread(self._started, run)

    def _started(self, run: RunDirectory) -> None:
        self.console.settled.append(self.draft.config)
        if self.is_current:
            self.app.pop_screen()
        self.console.watch_run(run)

    def _failed(self, error: NanosoloError) -> None:
        self.launching = False
        self._show()
        self._prepare()
        self.console.tell_error(error)


def _check_name(name: str) -> Diagnostic:
    try:
        require_free(name)
    except UsageError as error:
        return refused("name", error)
    return checked("name", "ok", f"{name} is free")


def _more(check: Diagnostic) -> str:
    """What this screen's keys offer where a check fails."""
    return KEYS.get(check.subject, "") if check.severity == "error" else ""
