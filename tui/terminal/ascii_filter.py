"""A line filter that draws everything with ASCII characters, for terminals and fonts without others."""

import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_PLAIN = {
    **dict.fromkeys("─━╌┄┈╍═▁▔▂", "-"),
    **dict.fromkeys("│┃┆┊║▏▎▕▌▐", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╔╗╚╝┏┓┗┛╶╴╵╷", "+"),
    **dict.fromkeys("█▓▇▆▅▄▃▀▊▋▉▍", "#"),
    **dict.fromkeys("▒░", ":"),
    **dict.fromkeys("•●◆■▪∎◊", "*"),
    **dict.fromkeys("○◇□▫·⋅", "."),
    **dict.fromkeys("→▶▸►›❯»", ">"),
    **dict.fromkeys("←◀◂◄‹❮«", "<"),
    **dict.fromkeys("↑▲▴", "^"),
    **dict.fromkeys("↓▼▾", "v"),
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("×✗✘✕✖", "x"),
    **dict.fromkeys("✓✔", "v"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    "…": ".",
    "≈": "~",
    "≤": "<",
    "≥": ">",
    "⚠": "!",
    "°": "o",
    "±": "+",
    "⏎": "<",
    "\u00a0": " ",
}


def to_ascii(text: str) -> str:
    """The text in ASCII with the same width in cells; characters without a replacement become question marks."""
    return text if text.isascii() else "".join(map(_plain, text))


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if character in _PLAIN:
        return _PLAIN[character]
    if "\u2800" <= character <= "\u28ff":  # braille
        return " " if character == "\u2800" else "*"
    base = unicodedata.normalize("NFKD", character)[:1]
    width = cell_len(character)
    return base.ljust(width)[:width] if base.isascii() and base.isprintable() and base else "?" * width


class AsciiFilter(LineFilter):
    """Replaces all non-ASCII characters before they are written to the terminal."""

    def apply(self, segments: Sequence[Segment], background: Color) -> list[Segment]:
        return [Segment(to_ascii(text), style, control) for text, style, control in segments]
