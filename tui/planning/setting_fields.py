"""The settings as knobs: unit, help, legal range, and the way between a value and the text a user types."""

import difflib
import math
import tomllib
from typing import Any, NamedTuple

import msgspec

from engine.config.schema import choices, depth_is_valid, fields
from tui.planning.setting_texts import ABOUT_KNOBS, MAIN


class Knob(NamedTuple):
    """One setting that can be turned."""

    path: str
    unit: str
    help: str
    kind: str  # int, float, bool, choice, text, list
    optional: bool  # whether it may be left empty
    low: float | None  # least value, included unless low_open
    low_open: bool
    high: float | None
    choices: tuple[str, ...]
    main: bool

    @property
    def section(self) -> str:
        return self.path.partition(".")[0]

    @property
    def key(self) -> str:
        return self.path.partition(".")[2]

    @property
    def range_text(self) -> str:
        """The legal values in words."""
        empty = ", or empty" if self.optional else ""
        match self.kind:
            case "bool":
                return "yes or no"
            case "choice":
                return " · ".join(self.choices)
            case "list":
                return f"a list of {', '.join(self.choices)}" if self.choices else "a list, with commas between"
            case "text":
                return "any text"
        kind = "whole number" if self.kind == "int" else "number"
        if self.low is not None and self.high is not None:
            above = "above " if self.low_open else ""
            return f"{above}{_plain(self.low)} to {_plain(self.high)}{empty}"
        if self.low is not None:
            return f"{kind} {'above' if self.low_open else 'from'} {_plain(self.low)}{empty}"
        return f"any {kind}{empty}"


def knobs() -> tuple[Knob, ...]:
    """Every knob: the main ones, then the rest in file order."""
    found = {path: _knob(path, field) for path, field in fields() if not _chosen_elsewhere(path)}
    rest = [knob for path, knob in found.items() if path not in MAIN]
    return (*(found[path] for path in MAIN), *rest)


def _chosen_elsewhere(path: str) -> bool:
    return path.startswith("about.") or path == "runtime.gpu"


def _knob(path: str, field: msgspec.structs.FieldInfo) -> Knob:
    info = msgspec.inspect.type_info(field.type)
    optional = False
    if isinstance(info, msgspec.inspect.UnionType):
        optional = True
        info = next(t for t in info.types if not isinstance(t, msgspec.inspect.NoneType))
    low: float | None = None
    low_open = False
    high: float | None = None
    match info:
        case msgspec.inspect.BoolType():
            kind = "bool"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            kind = "int" if isinstance(info, msgspec.inspect.IntType) else "float"
            low, low_open, high = (info.ge if info.gt is None else info.gt), info.gt is not None, info.le
        case msgspec.inspect.LiteralType():
            kind = "choice"
        case msgspec.inspect.VarTupleType():
            kind = "list"
        case _:
            kind = "text"
    unit, words = ABOUT_KNOBS.get(path, ("", ""))
    return Knob(path, unit, words, kind, optional, low, low_open, high, choices(field), path in MAIN)


def show(knob: Knob, value: Any) -> str:
    """A value as it stands in the list: short, with separators."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _plain(value)
    if isinstance(value, tuple):
        if knob.choices:
            return f"{len(value)} of {len(knob.choices)}"
        return "–" if not value else value[0] if len(value) == 1 else f"{len(value)} entries"
    return str(value)


def to_text(value: Any) -> str:
    """A value as it is edited; `parse(knob, to_text(v)) == v`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _plain(value).replace(",", "")
    if isinstance(value, tuple):
        awkward = any("," in item or item != item.strip() or item[:1] in '["' or not item for item in value)
        return "[" + ", ".join(quoted(item) for item in value) + "]" if awkward else ", ".join(value)
    return str(value)


def parse(knob: Knob, text: str) -> Any:
    """The value a user typed. Raises ValueError with what was expected; the range is not checked here."""
    text = text.strip() if knob.kind != "text" else text
    if not text and knob.optional:
        return None
    match knob.kind:
        case "bool":
            word = text.lower()
            if word in ("yes", "true", "on", "y", "1"):
                return True
            if word in ("no", "false", "off", "n", "0"):
                return False
            raise ValueError("expected yes or no")
        case "int" | "float":
            return _number(knob, text)
        case "list":
            return _list(text)
    return text


def _number(knob: Knob, text: str) -> int | float:
    plain = text.replace(",", "").replace("_", "").replace(" ", "")
    what = "a whole number" if knob.kind == "int" else "a number"
    try:
        value = float(plain)
    except ValueError:
        raise ValueError(f"expected {what}") from None
    if not math.isfinite(value):
        raise ValueError(f"expected {what}")
    if knob.kind == "float":
        return value
    try:
        return int(plain)
    except ValueError:
        if value.is_integer():  # 1e6
            return int(value)
        raise ValueError("expected a whole number") from None


def _list(text: str) -> tuple[str, ...]:
    if text.startswith("["):
        try:
            items = tomllib.loads(f"x = {text}")["x"]
        except (tomllib.TOMLDecodeError, RecursionError):
            raise ValueError('expected a list such as ["a", "b"]') from None
        if not all(isinstance(item, str) for item in items):
            raise ValueError("expected a list of texts")
        return tuple(items)
    return tuple(item.strip() for item in text.split(",") if item.strip())


def quoted(value: Any) -> str:
    """A plain value as TOML writes it."""
    import tomli_w

    return tomli_w.dumps({"x": value}).partition("= ")[2].strip()


def nearest(knob: Knob, text: str) -> Any:
    """The legal value nearest to a typed text, by this knob's own range; None where there is none to offer."""
    match knob.kind:
        case "choice":
            found = difflib.get_close_matches(text.strip().lower(), knob.choices, n=1, cutoff=0.0)
            return found[0] if found else None
        case "int" | "float":
            digits = "".join(c for c in text if c in "0123456789.-")
            try:
                value = float(digits)
            except ValueError:
                return None
            return _clamp(knob, value)
    return None


def in_range(knob: Knob, value: float) -> bool:
    """Whether a number is within the knob's own range."""
    below = knob.low is not None and (value < knob.low or (knob.low_open and value <= knob.low))
    return not below and (knob.high is None or value <= knob.high)


def _clamp(knob: Knob, value: float) -> int | float | None:
    if knob.low is not None and (value < knob.low or (knob.low_open and value <= knob.low)):
        value = knob.low + (1 if knob.low_open else 0)
    if knob.high is not None and value > knob.high:
        value = knob.high
    if knob.kind == "float":
        return value
    number = round(value)
    if knob.path == "model.depth":
        return next((d for d in (number, number - 1, number + 1) if depth_is_valid(d)), None)
    return number


def step(knob: Knob, value: Any, direction: int) -> Any:
    """The next value in a direction: the next choice, one block more, twice as many tokens. May be out of range."""
    match knob.kind:
        case "bool":
            return not value
        case "choice":
            at = knob.choices.index(value) + direction
            return knob.choices[at % len(knob.choices)]
        case "int":
            return _step_whole(knob, value, direction)
        case "float":
            base = value or 0.0
            size = 10 ** math.floor(math.log10(abs(base))) if base else 0.1
            if direction < 0 and base and abs(abs(base) - size) < 1e-12:
                size /= 10
            return _clamp(knob, round(base + direction * size, 12))
    return value


def _step_whole(knob: Knob, value: int | None, direction: int) -> int | None:
    if value is None:
        return None
    if knob.path == "model.depth":
        low, high = int(knob.low or 1), int(knob.high or 128)
        candidates = range(value + direction, high + 1 if direction > 0 else low - 1, direction)
        return next((d for d in candidates if depth_is_valid(d)), value)
    if value == 0 or knob.path in ("runtime.seed", "runtime.threads", "checkpoint.keep_last"):
        moved = value + direction
    elif value & (value - 1) == 0:  # a power of two stays one
        moved = value * 2 if direction > 0 else value // 2
    else:  # one more or less in the leading digit
        size = 10 ** int(math.log10(value))
        moved = value + direction * (size // 10 if direction < 0 and value == size else size)
    clamped = _clamp(knob, moved)
    return None if clamped is None else int(clamped)


def _plain(number: float) -> str:
    text = f"{number:,.6g}" if abs(number) < 1e6 else f"{number:,.0f}"
    return text if float(text.replace(",", "")) == number else repr(number)
