"""The command palette's entries, made from the binding table."""

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui.bindings import EVERYWHERE, Key, keys_for
from tui.key_names import shown_keys


class KeyProvider(Provider):
    """Every row of the table that holds on the screen that is shown."""

    def _rows(self) -> list[Key]:
        active = {b.binding.id for b in self.screen.active_bindings.values() if b.enabled}
        own = keys_for(getattr(self.screen, "KEYS_OF", ""))
        return [key for key in (*own, *keys_for(EVERYWHERE)) if key.id in active and key.id != "app.palette"]

    def _describe(self, key: Key) -> str:
        return f"{key.help}  ({', '.join(shown_keys(key, self.app._keymap))})"

    async def _run(self, key: Key) -> None:
        namespace = self.screen if not key.action.startswith("app.") else self.app
        await self.app.run_action(key.action, namespace)

    async def discover(self) -> Hits:
        for key in self._rows():
            yield DiscoveryHit(key.label, lambda key=key: self._run(key), help=self._describe(key))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for key in self._rows():
            score = max(matcher.match(key.label), 0.8 * matcher.match(key.help))
            if score > 0:
                yield Hit(score, matcher.highlight(key.label), lambda key=key: self._run(key), help=self._describe(key))
