"""Counts what is left out of a source, with the reason and the first place of each kind."""

import msgspec


class Skipped(msgspec.Struct, frozen=True):
    """Documents (or whole files) that were left out for one reason."""

    reason: str
    count: int
    first: str  # the file and row of the first of them


class SkipCounter:
    """Counts what is left out while text is read."""

    def __init__(self) -> None:
        self._counts: dict[str, Skipped] = {}

    def skip(self, reason: str, where: str) -> None:
        """One more is left out for `reason`; `where` names its file and row."""
        seen = self._counts.get(reason)
        self._counts[reason] = Skipped(reason, seen.count + 1, seen.first) if seen else Skipped(reason, 1, where)

    def skipped(self) -> tuple[Skipped, ...]:
        """Everything left out so far, in the order in which the reasons first came up."""
        return tuple(self._counts.values())

    def __str__(self) -> str:
        return "; ".join(f"{s.count:,} {s.reason} (first: {s.first})" for s in self.skipped())
