"""The entries of the command palette, made from the binding table: this screen's commands, then all others."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui.console import Console
from tui.keys.bindings import EVERYWHERE, KEYS, Key, keys_for
from tui.keys.names import shown_keys

SCREENS = {key.id.removeprefix("go."): key.label for key in KEYS if key.id.startswith("go.")}
# actions that only move or scroll are useless from another screen
MOVES = ("move", "page", "shift", "top", "bottom", "scroll", "first", "last", "step", "next_hit")
# these act immediately or on the row under the cursor: from another screen, only show the key
SHOW_KEY_ONLY = (
    "chat.new",
    "plan.fix",
    "plan.reset",
    "plan.undo",
    "review.launch",
    "run.checkpoint",
    "run.resume",
    "runs.mark",
    "runs.open",
)
READY_SECONDS = 2.0  # a screen that is shown for the first time may have to read its runs first
POLL_SECONDS = 0.05


class Command(NamedTuple):
    """A row of the table and its screen; `mode` is empty for the current screen."""

    key: Key
    mode: str

    @property
    def name(self) -> str:
        """The name in the palette."""
        return f"{SCREENS[self.mode]}: {self.key.label}" if self.mode else self.key.label


class KeyProvider(Provider):
    """The commands of the current screen, then those of the other screens."""

    def _commands(self) -> list[Command]:
        active = {b.binding.id for b in self.screen.active_bindings.values() if b.enabled}
        shown = getattr(self.screen, "KEYS_OF", "")
        rows = [key for key in (*keys_for(shown), *keys_for(EVERYWHERE)) if key.id in active]
        here = [Command(key, "") for key in rows if key.id != "app.palette"]
        return [*here, *_elsewhere(shown, active)]

    def _describe(self, key: Key) -> str:
        return f"{key.help}  ({', '.join(shown_keys(key, self.app._keymap))})"

    async def _run(self, command: Command) -> None:
        app = cast(Console, self.app)
        if command.mode:
            app.run_worker(go_and_do(app, command), exit_on_error=False)
            return
        namespace = self.screen if not command.key.action.startswith("app.") else app
        await app.run_action(command.key.action, namespace)

    async def discover(self) -> Hits:
        for command in self._commands():
            yield DiscoveryHit(
                command.name, lambda command=command: self._run(command), help=self._describe(command.key)
            )

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for command in self._commands():
            score = max(matcher.match(command.name), 0.8 * matcher.match(command.key.help))
            if score > 0:
                # the current screen goes first
                yield Hit(
                    score * (0.9 if command.mode else 1.0),
                    matcher.highlight(command.name),
                    lambda command=command: self._run(command),
                    help=self._describe(command.key),
                )


def _elsewhere(shown: str, active: set[str | None]) -> Iterator[Command]:
    """The commands of the other screens that are useful from here."""
    for mode in SCREENS:
        for key in keys_for(mode) if mode != shown else ():
            moves = key.action.partition("(")[0] in MOVES
            if key.id not in active and not moves and not key.action.startswith("app."):
                yield Command(key, mode)


async def go_and_do(app: Console, command: Command) -> None:
    """Go to the command's screen and run the command there as soon as it is possible. Otherwise show its key, or say
    that it is not available."""
    key = command.key
    app.action_go(command.mode)
    screen = app.screen
    name, label = shown_keys(key, app._keymap, 1)[0], SCREENS[command.mode]
    if key.id in SHOW_KEY_ONLY:
        app.tell(f"{label}: press {name}. {key.help}")
        return

    async def possible() -> None:
        while not (screen.is_mounted and screen.check_action(key.action.partition("(")[0], ())):
            await asyncio.sleep(POLL_SECONDS)

    with suppress(TimeoutError):
        await asyncio.wait_for(possible(), READY_SECONDS)
        if app.screen is screen:
            await app.run_action(key.action, screen)
        return
    app.tell(f"{label}: {name} is not available now. {key.help}", "warning")
