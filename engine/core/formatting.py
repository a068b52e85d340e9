"""Numbers in words for people: durations, sizes, counts, money. Every screen and printout uses these."""

import math

from engine.core.units import GIB

SIZES = {"TiB": 2**40, "GiB": GIB, "MiB": 2**20, "KiB": 2**10}


def duration(seconds: float | None) -> str:
    """Two units at most: `7 h 12 m`, `3 m 05 s`, `4.2 s`, `85 ms`; `?` where it is not known."""
    if seconds is None or not math.isfinite(1000 * seconds):  # a damaged line may hold any number
        return "?"
    # rounded first, so that no unit is ever full: 59.7 s are 1 m 00 s
    if round(1000 * seconds) < 1000:
        return f"{round(1000 * seconds)} ms"
    if round(10 * seconds) < 100:
        return f"{round(10 * seconds) / 10:.1f} s"
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} m"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d} h"


def hours(hours: float | None) -> str:
    """A duration given in hours, in the same style."""
    return duration(3600 * hours if hours is not None else None)


def about_hours(hours: float | None) -> str:
    """A predicted time in one unit: `18.0 h`, `42 min`, `7 s`; `?` where it is not known."""
    if hours is None or not math.isfinite(3600 * hours):
        return "?"
    if round(10 * hours) >= 10:
        return f"{hours:.1f} h"
    if round(60 * hours) >= 2:
        return f"{60 * hours:.0f} min"
    return f"{3600 * hours:.0f} s" if 3600 * hours >= 1 else "under 1 s"


def hours_range(low: float | None, high: float | None) -> str:
    """A range of hours in one unit: `9.6–12.8 h`, `4–6 min`, `2–10 s`, `4.1–5.2 days`; `not known` where it is not."""
    if low is None or high is None or not math.isfinite(low + high):
        return "not known"
    if high < 2 / 60:
        least = max(1, round(3600 * low))
        return f"{least}–{max(least + 1, round(3600 * high))} s"
    if high < 1 or low < 0.1:
        least = max(1, round(60 * low))
        return f"{least}–{max(least + 1, round(60 * high))} min"
    if high >= 96:
        return f"{low / 24:.1f}–{high / 24:.1f} days"
    return f"{low:.0f}–{high:.0f} h" if high >= 20 and low >= 1 else f"{low:.1f}–{high:.1f} h"


def rate(tokens_per_second: float | None) -> str:
    """`84.1k tokens/s`; `?` where it is not known."""
    text = count(tokens_per_second)
    return text if text == "?" else f"{text} tokens/s"


def size(count: float | None) -> str:
    """Bytes with a binary unit: `31.2 GiB`, `712 MiB`, `3 KiB`; `?` where it is not known."""
    if count is None or not math.isfinite(count):
        return "?"
    return _size_in(_unit_of(count), count)


def sizes(*counts: float | None) -> list[str]:
    """Several sizes in one unit, that of the smallest: `1062 MiB` and `1002 MiB`."""
    known = [count for count in counts if count is not None and math.isfinite(count)]
    unit = _unit_of(min(known)) if known else "B"
    return [_size_in(unit, count) if count is not None and math.isfinite(count) else "?" for count in counts]


def part_of(part: float, whole: float) -> str:
    """Bytes of so many: `7.6 of 39.5 GiB`, `312 MiB of 23.5 GiB`."""
    first, last = size(part), size(whole)
    number, _, unit = first.partition(" ")
    return f"{number if last.endswith(f' {unit}') else first} of {last}"


def gib(count: float) -> str:
    """Bytes in GiB without the unit, where a heading has it: `3.2`, `31`."""
    value = count / GIB
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _unit_of(count: float) -> str:
    # where the unit below would round to a full one
    return next((unit for unit, scale in SIZES.items() if round(abs(count) / scale * 1024) >= 1024), "B")


def _size_in(unit: str, count: float) -> str:
    value = count / SIZES.get(unit, 1)
    tenths = unit in ("TiB", "GiB") and round(10 * abs(value)) < 1000
    return f"{value:.1f} {unit}" if tenths else f"{round(value)} {unit}"


def count(number: float | None) -> str:
    """A count with three figures: `11.2B`, `561M`, `84.1k`, `812`; `?` where it is not known."""
    if number is None or not math.isfinite(number):
        return "?"
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        # the threshold is where three figures would round up to 1000 of the unit below
        if abs(number) >= 0.9995 * scale:
            value = number / scale
            digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
            return f"{value:.{digits}f}{unit}"
    return f"{number:.0f}" if float(number).is_integer() else f"{number:.3g}"


def percent(share: float | None, digits: int = 0) -> str:
    """A share as `55 %`; `?` where it is not known."""
    return "?" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def money(amount: float | None) -> str:
    """An amount in whatever currency the price was given in: `1,234.50`; `?` where it is not known."""
    return "?" if amount is None or not math.isfinite(amount) else f"{amount:,.2f}"
