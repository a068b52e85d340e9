"""Counts skipped documents of a source by reason, with the location of the first one."""

import msgspec


class Skipped(msgspec.Struct, frozen=True):
    """Documents (or whole files) that were skipped for one reason."""

    reason: str
    count: int
    first: str  # the file and row of the first of them


class SkipCounter:
    """Counts what is skipped while text is read."""

    def __init__(self) -> None:
        self._counts: dict[str, Skipped] = {}

    def skip(self, reason: str, where: str) -> None:
        """Count one more skipped for `reason`; `where` names its file and row."""
        seen = self._counts.get(reason)
        self._counts[reason] = Skipped(reason, seen.count + 1, seen.first) if seen else Skipped(reason, 1, where)

    def skipped(self) -> tuple[Skipped, ...]:
        """Everything skipped so far, in the order in which the reasons first occurred."""
        return tuple(self._counts.values())

    def __str__(self) -> str:
        return "; ".join(f"{s.count:,} {s.reason} (first: {s.first})" for s in self.skipped())
