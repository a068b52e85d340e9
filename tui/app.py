"""The console application: screens, themes, settings, and quitting without stopping the training."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from textual.app import SystemCommand
from textual.command import Provider
from textual.filter import Monochrome, NoColor
from textual.screen import Screen

from engine.config.layers import Layer
from engine.config.schema import RunConfig
from engine.run.directory import RunDirectory, find_run, list_runs
from tui.console import Console
from tui.console_settings import config_file, load_settings
from tui.keys.bindings import KEYS, bindings_for
from tui.keys.names import clashes
from tui.planning.draft import Draft, command, command_line
from tui.terminal.ascii_filter import AsciiFilter
from tui.terminal.no_color_filter import NoColorFilter
from tui.terminal.signals import quit_on_signals
from tui.terminal.themes import DARK, THEMES, choose_theme

if TYPE_CHECKING:
    from tui.screens.plan.plan_screen import PlanScreen

SCREENS: dict[str, str] = {  # mode -> "module:class", imported when first shown
    "plan": "tui.screens.plan.plan_screen:PlanScreen",
    "monitor": "tui.screens.monitor:MonitorScreen",
    "runs": "tui.screens.runs:RunsScreen",
    "compare": "tui.screens.compare:CompareScreen",
    "logs": "tui.screens.logs:LogsScreen",
    "chat": "tui.screens.chat.chat_screen:ChatScreen",
}


def _loader(target: str) -> Callable[[], Screen[None]]:
    def load() -> Screen[None]:
        from importlib import import_module

        module, _, name = target.partition(":")
        screen: Screen[None] = getattr(import_module(module), name)()
        return screen

    return load


def _providers() -> type[Provider]:
    from tui.screens.palette import KeyProvider

    return KeyProvider


class NanosoloApp(Console, inherit_bindings=False):
    """The console."""

    TITLE = "nanosolo"
    CSS_PATH = "styles.tcss"
    BINDINGS = bindings_for("app")
    MODES = {name: _loader(target) for name, target in SCREENS.items()}  # noqa: RUF012
    DEFAULT_MODE = "plan"
    COMMANDS = {_providers}  # noqa: RUF012
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (160, "-very-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (36, "-tall")]  # noqa: RUF012
    NOTIFICATION_TIMEOUT = 6
    ESCAPE_TO_MINIMIZE = False

    def __init__(
        self, layers: tuple[Layer, ...] = (), watch: RunDirectory | None = None, ascii_only: bool = False
    ) -> None:
        if watch is not None:  # build only the first screen before the first paint
            self.DEFAULT_MODE = "monitor"  # type: ignore[misc]
        super().__init__(layers)
        self.animation_level = "none"  # animations are slow over a slow connection
        for theme in THEMES:
            self.register_theme(theme)
        ids = frozenset(key.id for key in KEYS)
        self.settings, self.faults = load_settings(config_file(), ids, frozenset(self.available_themes))
        self.theme = choose_theme(self.settings.theme, self.console.color_system, self.no_color)
        if self.no_color:  # Textual's filter converts RGB to gray, which our plain theme does not have
            self._filters = [NoColorFilter() if isinstance(old, Monochrome | NoColor) else old for old in self._filters]
        self.ascii_only = ascii_only or self.settings.ascii
        if self.ascii_only:
            self._filters.append(AsciiFilter())
        self.faults += [f"{config_file()}: {clash}" for clash in clashes(self.settings.keys)]
        self.set_keymap(self.settings.keys)
        self.set_reactive(NanosoloApp.watched, watch)
        self._visited: list[str] = ["plan"] if watch is not None else []
        self._passing: Screen[object] | None = None  # a review opened from another screen than Plan

    def on_mount(self) -> None:
        for fault in self.faults:
            self.tell(fault, "warning")

    # switching screens

    def action_go(self, mode: str) -> None:
        """Show a screen of the top row."""
        if mode == "review":
            self._go_review()
            return
        if self._reviewing:
            self.pop_screen()
        if mode == self.current_mode:
            while len(self.screen_stack) > 1:
                self.pop_screen()
            return
        if mode == "chat":
            under_cursor = getattr(self.screen_stack[0], "chosen", None)  # Runs has one
            self.chat_run = under_cursor.run if under_cursor is not None else self.watched
        left = self.current_mode
        self._visited = [name for name in self._visited if name not in (left, mode)] + [left]
        self.switch_mode(mode)

    @property
    def _reviewing(self) -> bool:
        """Whether the launch review is shown, which is on top of Plan and has its own tab."""
        return getattr(self.screen, "MODE", "") == "review"

    def _go_review(self) -> None:
        """Review the current plan. Escape returns to the screen where the key was pressed."""
        if self._reviewing:
            return
        passing = self.current_mode != "plan"
        self.action_go("plan")
        cast("PlanScreen", self.screen_stack[0]).action_review()
        self._passing = self.screen if passing else None

    async def action_back(self) -> None:
        """Close the top dialog, or go back to the previous screen."""
        if len(self.screen_stack) > 1:
            passing = self.screen is self._passing
            self.pop_screen()
            if not passing:
                return
        if self._visited:
            self.switch_mode(self._visited.pop())

    def action_help(self) -> None:
        """Show the keys of the current screen."""
        from tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(getattr(self.screen, "KEYS_OF", "app"), self.screen.is_modal))

    def action_next_theme(self) -> None:
        """Switch to the next of our themes."""
        names = [theme.name for theme in THEMES]
        at = names.index(self.theme) if self.theme in names else names.index(DARK.name) - 1
        self.theme = names[(at + 1) % len(names)]
        self.tell(f'Theme: {self.theme}. To keep it, set theme = "{self.theme}" in {config_file()}.')

    def get_system_commands(self, screen: Screen[object]) -> list[SystemCommand]:
        """No commands of Textual: the palette is made from our binding table."""
        return []

    def action_leave(self) -> None:
        """Quit. Training does not depend on this process."""
        self.exit()


def run_console(layers: tuple[Layer, ...] = (), watch: str | None = None, ascii_only: bool = False) -> int:
    """Show the console until the user quits. Returns the exit code.

    layers: the configuration to start planning with (preset, file, flags), as for `resolve`. watch: the run to open on
    the Monitor; by default the newest running one, if any. Raises UsageError if `watch` is not the name of a run.
    """
    run = find_run(watch) if watch else _newest_running() if not layers else None
    app = NanosoloApp(layers, run, ascii_only)
    quit_on_signals(lambda code: _exit_soon(app, code))
    app.run()
    if not app.is_web:  # in the browser, standard output is the connection
        for line in [*unlaunched_edits(app.draft, app.settled), *farewell()]:
            print(line)
    return app.return_code or 0


def unlaunched_edits(draft: Draft | None, settled: list[RunConfig]) -> list[str]:
    """How to restore the edits of the plan, if they were neither launched nor written to a file."""
    if draft is None or not draft.edits or draft.config in settled:
        return []
    return [
        "The changes on the Plan screen were not launched. To launch them (or write them with --export FILE), run:",
        f"  {command_line(command(draft, ''))}",
    ]


def farewell() -> list[str]:
    """The text after quitting: the runs that continue, and how to return to them."""
    running = [run.name for run in list_runs() if run.is_running()]
    if not running:
        return []
    names = " and ".join(running) if len(running) < 3 else f"{len(running)} runs"
    verb = "continues" if len(running) == 1 else "continue"
    commands = {
        "nanosolo": "open the console",
        f"nanosolo attach {running[-1]}": "follow as text",
        f"nanosolo stop {running[-1]}": "stop after a checkpoint",
    }
    width = max(map(len, commands))
    return [
        f"{names} {verb} training without the console.",
        "Next commands:",
        *(f"  {command:<{width}}   {what}" for command, what in commands.items()),
    ]


def _newest_running() -> RunDirectory | None:
    return next((run for run in reversed(list_runs()) if run.is_running()), None)


def _exit_soon(app: NanosoloApp, code: int) -> None:
    loop = app._loop
    if loop is not None:
        loop.call_soon_threadsafe(app.exit, None, code)
