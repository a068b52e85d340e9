"""The line that moves at the foot of a terminal: what is done as a bar, and as many figures as fit beside it."""

from collections.abc import Sequence

BAR_MIN, BAR_MAX = 8, 24  # cells
DONE, LEFT = "━", "─"
GAP = "  "


def progress_line(label: str, share: float | None, figures: Sequence[str], width: int) -> str:
    """One line of at most `width` cells. `share`: how much is done, from 0 to 1; None: not known, so no bar.

    Figures stand in the order of their weight: what does not fit is left out from the end.
    """
    bar_min = len(GAP) + BAR_MIN if share is not None else 0
    kept = list(figures)
    while kept and len(GAP.join([label, *kept])) + bar_min > width:
        kept.pop()
    text = GAP.join([label, *kept])
    room = min(BAR_MAX, width - len(text) - len(GAP))
    if share is None or room < BAR_MIN:
        return text[:width]
    filled = round(room * min(1.0, max(0.0, share)))
    return GAP.join([label, DONE * filled + LEFT * (room - filled), *kept])
