"""Draws one column of cells of a plot: grid and rules, then lines in braille, then single glyphs."""

from dataclasses import dataclass

from tui.chart.canvas import BRAILLE, DOTS_ACROSS, DOTS_DOWN, SPAN_BITS
from tui.chart.frame import Frame
from tui.chart.glyphs import Glyphs
from tui.chart.model import Layer
from tui.chart.trace import Trace

Mark = tuple[int, str, str]  # row, character, style
BEHIND = -1  # instead of a row: the whole column, behind everything
THROUGH = -2  # the whole column, behind the lines but in front of the clouds of raw values
FULL = 0xFF  # all dots of a cell


@dataclass
class Line:
    """A trace with how it is drawn."""

    trace: Trace
    layer: Layer
    smoothed: bool
    raw: bool  # the cloud behind a smoothed line
    style: str
    char: str  # in ASCII


def compose(
    frame: Frame, glyphs: Glyphs, lines: list[Line], marks: list[Mark], cell: int, ascii_only: bool
) -> tuple[list[str], list[str]]:
    """The characters and styles of one column of cells, from the top. `lines` and `marks` go from back to front."""
    height = frame.height
    chars, styles = [" "] * height, [""] * height
    if cell % 2 == 0:
        for row in frame.labels_by_row:
            chars[row], styles[row] = glyphs.grid, "grid"
    for row, char, style in marks:
        if row in (BEHIND, THROUGH):
            chars, styles = [char] * height, [style] * height
    bits = [0] * height
    clouded = [False] * height  # the bits so far are raw values
    owners: list[Line | None] = [None] * height
    for line in lines:
        trace, style, is_raw = line.trace, line.style, line.raw
        for side in range(DOTS_ACROSS):
            column = cell * DOTS_ACROSS + side
            top, bottom = trace.top[column], trace.bottom[column]
            if top > bottom:
                continue
            spans = SPAN_BITS[side]
            for row in range(top // DOTS_DOWN, bottom // DOTS_DOWN + 1):
                first = row * DOTS_DOWN
                pattern = spans[max(top - first, 0)][min(bottom - first, DOTS_DOWN - 1)]
                if clouded[row] and not is_raw:
                    # A line is not thickened by the cloud around it, which continues as a tint of the cell.
                    styles[row] = style.replace("line", "over") if bits[row] == FULL else style
                    bits[row] = 0
                elif not bits[row] or is_raw or (owners[row] is not line and cell // 2 % 2):
                    styles[row] = style  # lines that share cells take turns in coloring them
                owners[row], clouded[row] = line, is_raw
                bits[row] |= pattern
                if ascii_only:
                    chars[row] = line.char
        column = cell * DOTS_ACROSS
        for beyond, row, char in ((trace.above, 0, glyphs.above), (trace.below, height - 1, glyphs.below)):
            if height and (beyond[column] or beyond[column + 1]):
                chars[row], styles[row], bits[row], clouded[row] = char, style, 0, False
    if not ascii_only:
        for row, pattern in enumerate(bits):
            if pattern:
                chars[row] = BRAILLE[pattern]
    for place, char, style in marks:
        for row in range(height) if place == THROUGH else ():
            if clouded[row]:
                chars[row], styles[row] = char, style
        if 0 <= place < height:
            chars[place], styles[place] = char, style
    return chars, styles
