"""Damage to files: replaced values; flipped, cut, repeated and spliced bytes."""

import json
import random
from collections.abc import Sequence
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**64, 10**400, 1e308, -0.0, 5e-324,
    "", "\x00", "..", "../../x", "/etc/passwd", "\u202e", "x" * 5000, "nan", "1e999",
    [], [[]], {}, {"": {}}, [None] * 50, {"kind": "step"},
)  # fmt: skip
TOKENS = (
    b"null", b"true", b"-1", b"1e999", b"NaN", b"Infinity", b"18446744073709551616", b"0x", b"1979-05-27T07:32:00Z",
    b'"', b"\\", b"\\ud800", b"\\u0000", b"\xff\xfe", b"\x00", b"\xf0\x9f\x92\xa9", b"\xed\xa0\x80", b"\n", b"\r\n",
    b"]", b"}", b",", b"=", b"[[", b"'''", b'"""', b"[" * 5000, b'{"a":' * 2000, b"__class__",
)  # fmt: skip


def mutate(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A copy of one of the seeds with damaged values, bytes or both."""
    data = draw.choice(seeds)
    if draw.random() < 0.5:
        data = replace_values(draw, data)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4, 16))):
        data = damage(draw, data, seeds)
    return data


def damage(draw: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One change to the bytes."""
    at = draw.randrange(len(data) + 1)
    end = min(len(data), at + draw.choice((1, 1, 2, 8, 64, 1024)))
    match draw.randrange(7):
        case 0:
            flipped = bytearray(data)
            if flipped:
                flipped[at % len(flipped)] ^= 1 << draw.randrange(8)
            return bytes(flipped)
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[end:]
        case 3:
            return data[:at] + draw.choice(TOKENS) + data[at:]
        case 4:
            return data[:at] + draw.choice(TOKENS) + data[end:]
        case 5:
            return data[:end] + data[at:end] + data[end:]
    other = draw.choice(seeds)
    return data[:at] + other[draw.randrange(len(other) + 1) :]


def replace_values(draw: random.Random, data: bytes) -> bytes:
    """The same JSON or JSON lines with one value replaced; any other file unchanged."""
    lines = data.split(b"\n")
    number = draw.randrange(len(lines))
    for text in (data, lines[number]):
        try:
            changed = json.dumps(_replace(draw, json.loads(text))).encode()
        except (ValueError, RecursionError):
            continue
        return changed if text is data else b"\n".join([*lines[:number], changed, *lines[number + 1 :]])
    return data


def _replace(draw: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        if draw.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: _replace(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        return [*value[:at], _replace(draw, value[at]), *value[at + 1 :]]
    return draw.choice(HOSTILE)
