"""The progress line at the bottom of a terminal: a bar, and as many figures as fit."""

from collections.abc import Sequence

BAR_MIN, BAR_MAX = 8, 24  # cells
DONE, LEFT = "━", "─"
GAP = "  "


def progress_line(label: str, share: float | None, figures: Sequence[str], width: int) -> str:
    """One line of at most `width` cells. `share`: how much is done, from 0 to 1; None: not known, so no bar.

    Figures come in order of importance: those at the end are left out if they do not fit.
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
