"""One setting as its schema describes it: meaning, unit, kind, range, choices, default."""

import functools
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from engine.config.schema import RunConfig, fields


class Setting(NamedTuple):
    """One setting. `kind` is int, float, bool, choice, text, list or pair (two numbers)."""

    path: str
    unit: str
    help: str
    kind: str
    default: Any
    optional: bool  # whether it may be left out
    low: float | None  # smallest value, included unless low_open
    low_open: bool
    high: float | None  # largest value, included unless high_open
    high_open: bool
    choices: tuple[str, ...]  # of the setting, or of each item of a list

    @property
    def section(self) -> str:
        return self.path.partition(".")[0]

    @property
    def key(self) -> str:
        return self.path.partition(".")[2]

    @property
    def range_text(self) -> str:
        """The valid values, without their unit: `1–128`, `1 or more`, `above 0, at most 1,000`, `auto, on, off`."""
        match self.kind:
            case "bool":
                return "true or false"
            case "choice":
                return ", ".join(self.choices)
            case "list":
                return f"list of {', '.join(self.choices)}" if self.choices else "list of strings"
            case "text":
                return "any text"
            case "pair":
                return "two numbers"
        return _range_words(self)

    @property
    def expected(self) -> str:
        """What a valid value is, as the end of "expected ..."."""
        match self.kind:
            case "bool":
                return "true or false"
            case "choice":
                return f"one of {self.range_text}"
            case "list":
                return f"a {self.range_text}"
            case "text":
                return "text"
            case "pair":
                return "two numbers, such as [12.0, 16.0]"
        return f"{'a whole number' if self.kind == 'int' else 'a number'} ({self.range_text})"

    def contains(self, value: float) -> bool:
        """Whether a number is in the range."""
        if self.low is not None and (value < self.low or (self.low_open and value <= self.low)):
            return False
        return self.high is None or value < self.high or (value == self.high and not self.high_open)

    @property
    def example(self) -> tuple[str, str]:
        """Two valid items of a list setting, to show its form."""
        known = self.choices or tuple(self.default)
        one, two, *_ = known if len(known) > 1 else (*known, "my/text/", "more.jsonl")
        return one, two


@functools.cache
def settings() -> dict[str, Setting]:
    """Every setting by its dotted path, in file order."""
    return {path: _setting(path, field) for path, field in fields()}


@functools.cache
def section_texts() -> dict[str, str]:
    """What each section is for, in one line."""
    sections = msgspec.structs.fields(RunConfig)
    return {section.name: " ".join((section.type.__doc__ or "").split()) for section in sections}


def plain(number: float) -> str:
    """A number as people write it: `2,048`, `0.02`. Reads back as the same number without its commas."""
    if isinstance(number, int):
        return f"{number:,}"
    text = f"{number:,.6g}" if abs(number) < 1e6 else f"{number:,.0f}"
    return text if float(text.replace(",", "")) == number else repr(number)


def _range_words(setting: Setting) -> str:
    low, high = setting.low, setting.high
    if low is not None and high is not None and not setting.low_open and not setting.high_open:
        return f"{plain(low)}–{plain(high)}"
    parts = []
    if low is not None:
        parts.append(f"above {plain(low)}" if setting.low_open else f"{plain(low)} or more")
    if high is not None:
        parts.append(f"below {plain(high)}" if setting.high_open else f"at most {plain(high)}")
    return ", ".join(parts) or "any number"


def _setting(path: str, field: msgspec.structs.FieldInfo) -> Setting:
    base, metas = _unwrapped(field.type)
    inner, optional = base, False
    if get_origin(base) in (Union, UnionType):
        optional = True
        inner, more = _unwrapped(next(part for part in get_args(base) if part is not NoneType))
        metas = [*more, *metas]
    kind = _kind(inner)
    low, low_open = _limit(kind, [meta.ge for meta in metas], [meta.gt for meta in metas], 1)
    high, high_open = _limit(kind, [meta.le for meta in metas], [meta.lt for meta in metas], -1)
    described = next((meta for meta in metas if meta.description), Meta())
    unit = str((described.extra or {}).get("unit", ""))
    return Setting(
        path,
        unit,
        described.description or "",
        kind,
        field.default,
        optional,
        low,
        low_open,
        high,
        high_open,
        _choices(inner),
    )


def _unwrapped(kind: Any) -> tuple[Any, list[Meta]]:
    """A type without its annotations, and these. `msgspec.inspect` takes longer, at every start."""
    if get_origin(kind) is Annotated:
        base, *metas = get_args(kind)
        return base, [meta for meta in metas if isinstance(meta, Meta)]
    return kind, []


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "choice"
    if get_origin(kind) is tuple:
        return "list" if get_args(kind)[-1] is ... else "pair"
    return {bool: "bool", int: "int", float: "float"}.get(kind, "text")


def _limit(kind: str, closed: list[Any], opened: list[Any], inward: int) -> tuple[float | None, bool]:
    """(limit, whether it is excluded). A whole number always has an included limit."""
    for value in opened:
        if value is not None:
            return (value + inward, False) if kind == "int" else (value, True)
    return next((value for value in closed if value is not None), None), False


def _choices(kind: Any) -> tuple[str, ...]:
    """The values of a Literal, or of the items of a list of them, in the order of the schema."""
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    return _choices(get_args(kind)[0]) if get_origin(kind) is tuple else ()
