"""Launch review: exactly what would run, what differs from the preset, and whether anything speaks against it."""

import textwrap
from collections.abc import Iterable

from textual import on, work
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.errors import NanosoloError
from engine.plan.config import to_toml
from engine.run.control import start_run
from engine.run.directory import RunDirectory, free_name
from engine.run.home import runs_home
from tui.bindings import bindings_for
from tui.planning.checks import NOTE, OK, REFUSE, Check, checks
from tui.planning.choices import Here
from tui.planning.draft import Draft, command, command_line
from tui.planning.figures import time_range
from tui.planning.knobs import to_text
from tui.screens.base import ConsoleScreen

SIGNS = {OK: ("✓", "$success"), NOTE: ("!", "bold $warning"), REFUSE: ("✗", "bold $error")}

INDENT = 10  # cells before the text of a check


class NameField(Input):
    """The run's name, while it is typed."""

    KEYS_OF = "name"
    BINDINGS = bindings_for("name")

    def action_leave_field(self) -> None:
        self.screen.set_focus(None)


class ReviewScreen(ConsoleScreen):
    """Lies over the Plan screen. Enter starts the run and shows its Monitor."""

    MODE = "plan"
    KEYS_OF = "review"
    BINDINGS = bindings_for("review")
    CSS_PATH = "review.tcss"
    AUTO_FOCUS = ""

    def __init__(self, draft: Draft, here: Here) -> None:
        super().__init__()
        self.draft, self.here = draft, here
        self.plan = here.plan(draft.config)
        self.run_name = free_name(draft.config.about.preset)
        self.checks: list[Check] = []
        self.whole = False
        self.launching = False

    def compose_body(self) -> Iterable[Widget]:
        yield Static(id="verdict")
        with VerticalScroll(id="review", can_focus=False):
            with Horizontal(id="name-row"):
                yield Static("Run", classes="heading")
                yield NameField(self.run_name, id="name", select_on_focus=False)
            yield Static(id="where")
            yield Static(id="checks")
            yield Static(Content.styled("The command that does the same", "bold $secondary"), classes="heading")
            yield Static(id="command", markup=False)
            yield Static(id="changes-title", classes="heading")
            yield Static(id="toml", markup=False)

    def on_mount(self) -> None:
        self.say_about("launch review · nothing runs yet")

    def on_resize(self) -> None:
        self._show()

    # what is shown

    def _show(self) -> None:
        self.checks = checks(self.draft.config, self.plan, self.here, self.run_name)
        self.query_one("#verdict", Static).update(self._verdict())
        where = f"in {runs_home() / self.run_name}"
        self.query_one("#where", Static).update(Content.styled(where, "$quiet"))
        width = self.size.width - 6
        lines = [_check_line(check, width) for check in self.checks]
        self.query_one("#checks", Static).update(Content("\n").join(lines))
        self.query_one("#command", Static).update(Content(command_line(self.words)))
        self._show_toml()

    def _show_toml(self) -> None:
        preset = self.draft.config.about.preset
        title = f"All of run.toml, as it will be written (t: only the changes to {preset})"
        if not self.whole:
            title = f"What differs from {preset} (t: all of run.toml)"
        self.query_one("#changes-title", Static).update(Content.styled(title, "bold $secondary"))
        self.query_one("#toml", Static).update(self._whole() if self.whole else self._changes())

    @property
    def words(self) -> list[str]:
        """The command line of this run."""
        return command(self.draft, self.run_name)

    @property
    def refusals(self) -> list[Check]:
        """What speaks against launching."""
        return [check for check in self.checks if check.level == REFUSE]

    def _verdict(self) -> Content:
        if self.launching:
            return Content.styled("starting the runner …", "bold $primary")
        if self.refusals:
            return Content.styled("✗ Cannot launch here: ", "bold $error") + Content(
                self.refusals[0].text.partition(". ")[0] + "."
            )
        noted = [check.what for check in self.checks if check.level == NOTE]
        ready = Content.styled("✓ Ready. ", "bold $success")
        if noted:
            ready = Content.styled(f"! Ready, but read what stands at {' and '.join(noted)}. ", "bold $warning")
        plan = self.plan
        what = f"{plan.steps:,} steps of {plan.total_batch_size:,} tokens, {time_range(plan)}. "
        return ready + Content(what) + Content.styled("Enter", "bold $primary") + Content(" launches.")

    def _changes(self) -> Content:
        lines = []
        for path, before, now in self.draft.changes():
            lines.append(Content.styled(f"- {path} = {to_text(before) or 'not set'}", "$error"))
            lines.append(Content.styled(f"+ {path} = {to_text(now) or 'not set'}", "$success"))
        return Content("\n").join(lines) if lines else Content.styled("Nothing: the preset as it is.", "$quiet")

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

    def action_copy_command(self) -> None:
        from tui.clipboard import copy

        self.console.tell(copy(self.console, command_line(self.words), "command.sh"))

    def action_export(self) -> None:
        from tui.screens.export import export

        export(self.console, self.draft)

    def action_scroll(self, rows: int) -> None:
        self.query_one("#review", VerticalScroll).scroll_relative(y=rows, animate=False)

    def action_launch(self) -> None:
        self._show()  # the disk may have filled, the name may have been taken
        if self.refusals:
            self.console.tell(self.refusals[0].text, "error")
        elif not self.launching:
            self.launching = True
            self.query_one("#verdict", Static).update(self._verdict())
            self._start(self.run_name)

    @work(thread=True, exit_on_error=False)
    def _start(self, name: str) -> None:
        try:
            run = start_run(self.draft.config, name)
        except NanosoloError as error:
            self.app.call_from_thread(self._failed, error)
            return
        self.app.call_from_thread(self._started, run)

    def _started(self, run: RunDirectory) -> None:
        if self.is_current:
            self.app.pop_screen()
        self.console.watch_run(run)

    def _failed(self, error: NanosoloError) -> None:
        self.launching = False
        self._show()
        self.console.tell_error(error)


def _check_line(check: Check, width: int) -> Content:
    """A sign, what was looked at, and what was found, wrapped under itself."""
    sign, style = SIGNS[check.level]
    first, *rest = textwrap.wrap(check.text, max(20, width - INDENT)) or [""]
    head = Content.styled(f"{sign} ", style) + Content.styled(f"{check.what:<{INDENT - 2}}", "$quiet")
    return Content("\n").join([head + Content(first), *(Content(" " * INDENT + line) for line in rest)])
