"""A line filter for NO_COLOR: no colour at all, and reverse video where there was a background."""

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

PLAIN = Style.parse("default on default")
REVERSED = Style.parse("default on default reverse")


class NoColorFilter(LineFilter):
    """Bold, underline and reverse stay. What lies on a colour, such as the cursor's row, is reversed instead."""

    def apply(self, segments: Sequence[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, None if style is None else style + (REVERSED if _on_colour(style) else PLAIN), control)
            for text, style, control in segments
        ]


def _on_colour(style: Style) -> bool:
    return style.bgcolor is not None and not style.bgcolor.is_default
