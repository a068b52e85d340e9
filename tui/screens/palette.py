"""The command palette's entries, made from the binding table: this screen's commands, and those of all others."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui.console import Console
from tui.keys.bindings import EVERYWHERE, KEYS, Key, keys_for
from tui.keys.names import shown_keys

SCREENS = {key.id.removeprefix("go."): key.label for key in KEYS if key.id.startswith("go.")}
# what only moves about in what is shown there makes no sense from elsewhere
MOVES = ("move", "page", "shift", "top", "bottom", "scroll", "first", "last", "step", "next_hit")
# what acts at once, or on what is under a cursor, waits for its key: who asks from elsewhere has not seen on what
SEEN_FIRST = (
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
READY_SECONDS = 2.0  # a screen that is shown for the first time may have to look at its runs
LOOK_SECONDS = 0.05


class Command(NamedTuple):
    """A row of the table and where it holds; `mode` is empty for the screen that is shown."""

    key: Key
    mode: str

    @property
    def name(self) -> str:
        """How it is called here."""
        return f"{SCREENS[self.mode]}: {self.key.label}" if self.mode else self.key.label


class KeyProvider(Provider):
    """Every row of the table that holds on the screen that is shown, then those of the other screens."""

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
                # the screen that is shown goes first
                yield Hit(
                    score * (0.9 if command.mode else 1.0),
                    matcher.highlight(command.name),
                    lambda command=command: self._run(command),
                    help=self._describe(command.key),
                )


def _elsewhere(shown: str, active: set[str | None]) -> Iterator[Command]:
    """The commands of the other screens that make sense from here."""
    for mode in SCREENS:
        for key in keys_for(mode) if mode != shown else ():
            moves = key.action.partition("(")[0] in MOVES
            if key.id not in active and not moves and not key.action.startswith("app."):
                yield Command(key, mode)


async def go_and_do(app: Console, command: Command) -> None:
    """Go to the command's screen and do it there as soon as that is possible; else say which key does it, or that
    nothing there is fit for it."""
    key = command.key
    app.action_go(command.mode)
    screen = app.screen
    name, label = shown_keys(key, app._keymap, 1)[0], SCREENS[command.mode]
    if key.id in SEEN_FIRST:
        app.tell(f"This is {label}. {name}: {key.help}")
        return

    async def possible() -> None:
        while not (screen.is_mounted and screen.check_action(key.action.partition("(")[0], ())):
            await asyncio.sleep(LOOK_SECONDS)

    with suppress(TimeoutError):
        await asyncio.wait_for(possible(), READY_SECONDS)
        if app.screen is screen:
            await app.run_action(key.action, screen)
        return
    app.tell(f"{label} has nothing now on which {name} could work: {key.help}", "warning")
