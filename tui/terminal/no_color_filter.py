"""A line filter for NO_COLOR: no colors, and reverse video in place of background colors."""

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

PLAIN = Style.parse("default on default")
REVERSED = Style.parse("default on default reverse")


class NoColorFilter(LineFilter):
    """Keeps bold, underline and reverse. Text on a background color, such as the cursor row, is reversed."""

    def apply(self, segments: Sequence[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, None if style is None else style + (REVERSED if _has_background(style) else PLAIN), control)
            for text, style, control in segments
        ]


def _has_background(style: Style) -> bool:
    return style.bgcolor is not None and not style.bgcolor.is_default
