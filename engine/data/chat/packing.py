"""Packs conversations into rows of one length without cutting answers and with little padding."""

from bisect import bisect_right, insort
from collections.abc import Sequence

POOL = 1000  # conversations to choose from while a row is filled


def pack(lengths: Sequence[int], room: int, pool: int = POOL) -> list[list[int]]:
    """Indices of conversations by row: each exactly once, and the lengths of a row add up to at most `room`.

    Best fit over a pool of the next `pool` conversations: the longest that still fits is next. Each one fits an empty
    row, so none blocks the others. Depends on its arguments only. Raises ValueError if one does not fit or is empty.
    """
    wrong = next((length for length in lengths if not 0 < length <= room), None)
    if wrong is not None:
        raise ValueError(f"a conversation of {wrong} tokens does not fit a row of {room}")
    waiting: list[tuple[int, int]] = []  # (length, index), sorted
    upcoming = iter(enumerate(lengths))
    rows: list[list[int]] = []
    while True:
        while len(waiting) < pool and (new := next(upcoming, None)) is not None:
            insort(waiting, (new[1], new[0]))
        if not waiting:
            return rows
        row: list[int] = []
        left = room
        while (place := bisect_right(waiting, (left, len(lengths)))) > 0:
            length, index = waiting.pop(place - 1)
            row.append(index)
            left -= length
        rows.append(row)
