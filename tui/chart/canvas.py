"""A grid of styled character cells that knows which of them changed, and the braille patterns to draw on it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len

DOTS_ACROSS, DOTS_DOWN = 2, 4  # of one braille cell
BRAILLE = [chr(0x2800 + bits) for bits in range(256)]
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # [dot column][dot row]
_JOIN_GAP = 3  # changed cells at most this far apart go out as one run: moving a cursor costs more than that many cells

# SPAN_BITS[dot column][top][bottom]: the bits of the dot rows top..bottom
SPAN_BITS = tuple(
    tuple(tuple(sum(column[top : bottom + 1]) for bottom in range(4)) for top in range(4)) for column in _BITS
)

Piece = tuple[str, str]  # text and the name of its style


class Run(NamedTuple):
    """Changed cells next to each other in one row."""

    x: int
    y: int
    width: int


class Canvas:
    """width x height cells, each a character and the name of a style."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = max(width, 0), max(height, 0)
        self.chars = [[" "] * self.width for _ in range(self.height)]
        self.styles = [[""] * self.width for _ in range(self.height)]
        self._changed: list[set[int]] = [set() for _ in range(self.height)]

    def put(self, x: int, y: int, char: str, style: str) -> None:
        """Sets one cell. Cells outside the canvas are ignored."""
        if 0 <= x < self.width and 0 <= y < self.height:
            chars, styles = self.chars[y], self.styles[y]
            if chars[x] != char or styles[x] != style:
                chars[x], styles[x] = char, style
                self._changed[y].add(x)

    def put_column(self, x: int, y: int, chars: Sequence[str], styles: Sequence[str]) -> None:
        """Sets the cells downwards from (x, y), all of which lie on the canvas."""
        for row, (char, style) in enumerate(zip(chars, styles, strict=True), y):
            if self.chars[row][x] != char or self.styles[row][x] != style:
                self.chars[row][x], self.styles[row][x] = char, style
                self._changed[row].add(x)

    def text(self, x: int, y: int, pieces: Iterable[Piece], stop: int | None = None) -> int:
        """Writes from x up to `stop` (the right edge if None) and returns the x after the last cell written.

        A character two cells wide takes two cells, the second of them ''; one without width is left out.
        """
        stop = self.width if stop is None else min(stop, self.width)
        for text, style in pieces:
            for char in text:
                size = 1 if " " <= char <= "~" else cell_len(char) if char.isprintable() else 0
                if size == 0:
                    continue
                if x + size > stop:
                    return x
                self.put(x, y, char, style)
                if size == 2:
                    self.put(x + 1, y, "", style)
                x += size
        return x

    def line(self, y: int, pieces: Sequence[Piece], ends: Sequence[Piece] = (), cut: str = "") -> None:
        """Sets a whole row: `pieces` from the left and, where there is room, `ends` at the right.

        `cut` takes the last cell where even `pieces` are too long.
        """
        size, tail = pieces_width(pieces), self.width - pieces_width(ends)
        if not ends or size + 2 > tail:
            tail, ends = self.width, ()
        x = self.text(0, y, pieces, self.width - len(cut) if size > self.width else None)
        if size > self.width and cut:
            x = self.text(x, y, [(cut, pieces[-1][1])])
        x = self.text(x, y, [(" " * (tail - x), "")])
        self.text(x, y, ends)

    def take_changes(self) -> list[Run]:
        """The runs of cells that changed since the last call, top to bottom."""
        runs = []
        for y, changed in enumerate(self._changed):
            if changed:
                ordered = sorted(changed)
                start = end = ordered[0]
                for x in ordered[1:]:
                    if x - end > _JOIN_GAP:
                        runs.append(Run(start, y, end - start + 1))
                        start = x
                    end = x
                runs.append(Run(start, y, end - start + 1))
                changed.clear()
        return runs

    def row(self, y: int) -> list[Piece]:
        """A row as pieces of equal style."""
        pieces: list[Piece] = []
        chars, styles = self.chars[y], self.styles[y]
        start = 0
        for x in range(1, self.width + 1):
            if x == self.width or styles[x] != styles[start]:
                pieces.append(("".join(chars[start:x]), styles[start]))
                start = x
        return pieces

    def lines(self) -> list[str]:
        """The characters alone, without blanks at the end of lines."""
        return ["".join(row).rstrip() for row in self.chars]


def pieces_width(pieces: Iterable[Piece]) -> int:
    """How many cells the pieces take."""
    return sum(cell_len(text) for text, _ in pieces)
