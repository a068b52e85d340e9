"""Settings as the console edits them: the way between a value and the text that a user types; the next valid value."""

import difflib
import math
import tomllib
from typing import Any

from engine.config.schema import depth_is_valid
from engine.config.setting import Setting, plain, settings

# The settings that decide a run come first; the others follow by section.
MAIN = (
    "model.depth",
    "model.max_seq_len",
    "batch.device_batch_size",
    "batch.total_batch_size",
    "batch.activation_checkpointing",
    "budget.tokens_per_param",
    "budget.tokens",
    "budget.steps",
    "data.source",
    "data.paths",
    "runtime.price_per_hour",
)


def edited_settings() -> tuple[Setting, ...]:
    """Every setting of the list: the main ones, then the others in file order."""
    found = {path: setting for path, setting in settings().items() if not _chosen_elsewhere(path)}
    rest = [setting for path, setting in found.items() if path not in MAIN]
    return (*(found[path] for path in MAIN), *rest)


def _chosen_elsewhere(path: str) -> bool:
    return path.startswith("about.") or path == "runtime.gpu"


def valid_values(setting: Setting) -> str:
    """The valid values in the words of the console, which shows yes and no and leaves what is not set empty."""
    text = "yes or no" if setting.kind == "bool" else setting.range_text
    return f"{text}, or empty" if setting.optional and setting.kind in ("int", "float") else text


def show(setting: Setting, value: Any) -> str:
    """A value as the list shows it: short, with separators."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, tuple):
        if setting.choices:
            return f"{len(value)} of {len(setting.choices)}"
        return "–" if not value else value[0] if len(value) == 1 else f"{len(value)} entries"
    return str(value)


def to_text(value: Any) -> str:
    """A value as text to edit; `parse(setting, to_text(v)) == v`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return plain(value).replace(",", "")
    if isinstance(value, tuple):
        awkward = any("," in item or item != item.strip() or item[:1] in '["' or not item for item in value)
        return "[" + ", ".join(quoted(item) for item in value) + "]" if awkward else ", ".join(value)
    return str(value)


def parse(setting: Setting, text: str) -> Any:
    """The value of a typed text. Raises ValueError that says what was expected. Does not check the range."""
    text = text.strip() if setting.kind != "text" else text
    if not text and setting.optional:
        return None
    match setting.kind:
        case "bool":
            word = text.lower()
            if word in ("yes", "true", "on", "y", "1"):
                return True
            if word in ("no", "false", "off", "n", "0"):
                return False
            raise ValueError("expected yes or no")
        case "int" | "float":
            return _number(setting, text)
        case "list":
            return _list(text)
    return text


def _number(setting: Setting, text: str) -> int | float:
    plain = text.replace(",", "").replace("_", "").replace(" ", "")
    what = "a whole number" if setting.kind == "int" else "a number"
    try:
        value = float(plain)
    except ValueError:
        raise ValueError(f"expected {what}") from None
    if not math.isfinite(value):
        raise ValueError(f"expected {what}")
    if setting.kind == "float":
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
            raise ValueError("expected a list of strings")
        return tuple(items)
    return tuple(item.strip() for item in text.split(",") if item.strip())


def quoted(value: Any) -> str:
    """A string or number as TOML writes it."""
    import tomli_w

    return tomli_w.dumps({"x": value}).partition("= ")[2].strip()


def nearest(setting: Setting, text: str) -> Any:
    """The valid value closest to a typed text, by the range of this setting alone; None if there is none."""
    match setting.kind:
        case "choice":
            found = difflib.get_close_matches(text.strip().lower(), setting.choices, n=1, cutoff=0.0)
            return found[0] if found else None
        case "int" | "float":
            digits = "".join(c for c in text if c in "0123456789.-")
            try:
                value = float(digits)
            except ValueError:
                return None
            return _clamp(setting, value)
    return None


def _clamp(setting: Setting, value: float) -> int | float | None:
    if setting.low is not None and (value < setting.low or (setting.low_open and value <= setting.low)):
        value = setting.low + (1 if setting.low_open else 0)
    if setting.high is not None and value >= setting.high:
        if setting.high_open:
            return None  # there is no largest number below it
        value = setting.high
    if setting.kind == "float":
        return value
    number = round(value)
    if setting.path == "model.depth":
        return next((d for d in (number, number - 1, number + 1) if depth_is_valid(d)), None)
    return number


def step(setting: Setting, value: Any, direction: int) -> Any:
    """The next value in a direction: the next choice, one more block, twice as many tokens. May be out of range."""
    match setting.kind:
        case "bool":
            return not value
        case "choice":
            at = setting.choices.index(value) + direction
            return setting.choices[at % len(setting.choices)]
        case "int":
            return _step_whole(setting, value, direction)
        case "float":
            base = value or 0.0
            size = 10 ** math.floor(math.log10(abs(base))) if base else 0.1
            if direction < 0 and base and abs(abs(base) - size) < 1e-12:
                size /= 10
            moved = _clamp(setting, round(base + direction * size, 12))
            return value if moved is None else moved
    return value


def _step_whole(setting: Setting, value: int | None, direction: int) -> int | None:
    if value is None:
        return None
    if setting.path == "model.depth":
        low, high = int(setting.low or 1), int(setting.high or 128)
        candidates = range(value + direction, high + 1 if direction > 0 else low - 1, direction)
        return next((d for d in candidates if depth_is_valid(d)), value)
    if value == 0 or setting.path in ("runtime.seed", "runtime.threads", "checkpoint.keep_last"):
        moved = value + direction
    elif value & (value - 1) == 0:  # keep a power of two
        moved = value * 2 if direction > 0 else value // 2
    else:  # change the leading digit by one
        size = 10 ** int(math.log10(value))
        moved = value + direction * (size // 10 if direction < 0 and value == size else size)
    clamped = _clamp(setting, moved)
    return None if clamped is None else int(clamped)
