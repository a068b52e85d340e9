"""The characters that charts are drawn with: one set in braille, one in plain ASCII."""

from typing import Literal, NamedTuple

EventKind = Literal["checkpoint", "eval", "resume", "nan", "oom"]
EVENTS: tuple[EventKind, ...] = ("eval", "checkpoint", "resume", "nan", "oom")  # the later wins a shared column
ALARMS: frozenset[EventKind] = frozenset(("nan", "oom"))
RULED: frozenset[EventKind] = frozenset(("resume", "nan", "oom"))  # these change the curve: a rule through the plot


class Glyphs(NamedTuple):
    """One character for each thing, except where noted."""

    lines: str  # one a series; they tell series apart without color
    points: str
    raw: str  # raw values, where lines are not dots
    line: str  # the stretch of line in a legend
    above: str
    below: str
    grid: str
    side: str
    side_tick: str
    corner: str
    floor: str
    floor_tick: str
    cursor: str
    rule: str
    dot: str  # between parts of a text
    cut: str  # the end of a text that is longer than its row
    events: dict[EventKind, str]


UNICODE = Glyphs(
    lines="●▲■▼►◄",
    points="◆○□◊•▫",
    raw="⣿",
    line="━",
    above="↑",
    below="↓",
    grid="┈",
    side="│",
    side_tick="┤",
    corner="└",
    floor="─",
    floor_tick="┬",
    cursor="│",
    rule="┊",
    dot="·",
    cut="…",
    events={"eval": "○", "checkpoint": "▪", "resume": "»", "nan": "×", "oom": "‼"},
)
ASCII = Glyphs(
    lines="*o+x#%",
    points="OVDQUZ",
    raw=".",
    line="-",
    above="^",
    below="v",
    grid=" ",
    side="|",
    side_tick="+",
    corner="+",
    floor="-",
    floor_tick="+",
    cursor="|",
    rule=":",
    dot="-",
    cut="~",
    events={"eval": "e", "checkpoint": "c", "resume": ">", "nan": "!", "oom": "M"},
)
