"""The interface of the console for screens and dialogs: its state and messages. `tui.app` adds the screens."""

from typing import Any, cast

from rich.markup import escape
from textual.app import App
from textual.reactive import reactive

from engine.config.layers import Layer
from engine.config.schema import RunConfig
from engine.core.errors import NanosoloError
from engine.run.directory import RunDirectory
from tui.console_settings import Settings
from tui.planning.draft import Draft


class Console(App[None], inherit_bindings=False):
    """The application without its screens, so that screens need not import the module that imports all screens."""

    watched: reactive[RunDirectory | None] = reactive(None)  # the run shown on Monitor and Logs
    compared: reactive[tuple[str, ...]] = reactive(())  # names of the runs shown on Compare

    def __init__(self, layers: tuple[Layer, ...] = ()) -> None:
        super().__init__()
        self.layers = layers  # the configuration to start planning with
        self.draft: Draft | None = None  # the draft on the Plan screen, once that screen exists
        self.settled: list[RunConfig] = []  # the drafts launched or written to a file
        self.chat_run: RunDirectory | None = None  # the run at hand when the Chat screen was entered
        self.ascii_only = False
        self.settings: Settings

    def tell(self, message: str, severity: str = "information") -> None:
        """Show one sentence as plain text, without markup."""
        title = {"error": "Error", "warning": "Note"}.get(severity, "")
        self.notify(escape(message), title=title, severity=severity, markup=True)  # type: ignore[arg-type]

    def tell_error(self, error: NanosoloError) -> None:
        """Show an error that the user can act on."""
        self.tell(str(error), "error")

    def action_go(self, mode: str) -> None:
        """Show a screen of the top row."""
        raise NotImplementedError

    async def action_back(self) -> None:
        """Close the top dialog, or return to the previous screen."""
        raise NotImplementedError

    def watch_run(self, run: RunDirectory, mode: str = "monitor") -> None:
        """Make `run` the watched run, and show it on the screen `mode`."""
        self.watched = run
        self.action_go(mode)


def console_of(node: Any) -> Console:
    """The application of a screen or widget, typed as Console."""
    return cast(Console, node.app)
