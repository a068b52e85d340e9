"""Renders a conversation as rows of styled text. Model output is data, never markup or terminal commands."""

from collections.abc import Sequence

from textual.content import Content

from engine.core import formatting
from engine.core.sanitize import terminal_text
from engine.serve.worker_protocol import Finished
from tui.chat.turns import Turn

INDENT = "  "
LEAST_GAP = 0.005  # seconds; smaller differences in the time to the first token are not shown
_SIGNS = {"python": "[", "python_output": " = "}


def hang(lead: Content, body: Content, room: int) -> list[Content]:
    """Wrap `body` with a hanging indent; `lead` precedes the first row."""
    rows = body.wrap(room)
    return [(lead if number == 0 else Content(INDENT)) + row for number, row in enumerate(rows)]


def turn_rows(turn: Turn, width: int, before: Turn | None = None) -> list[Content]:
    """One turn: message, answer and figures; preceded by a note if the model differs from the previous turn's."""
    room = max(8, width - len(INDENT))
    rows: list[Content] = []
    if before is not None and before.speaker != turn.speaker:
        rows += [Content.styled(f"Now using {turn.speaker}", "$quiet italic"), Content("")]
    rows += hang(Content.styled("› ", "bold $primary"), Content.styled(terminal_text(turn.question), "bold"), room)
    said = answer_content(turn.parts)
    if turn.state == "writing":
        said += Content.styled("▌", "$primary")
    if turn.state == "waiting":
        rows.append(Content.styled(f"{INDENT}…", "$quiet"))
    elif said.plain:
        rows += hang(Content(INDENT), said, room)
    if turn.fault:
        rows += hang(Content.styled("✖ ", "$error"), Content.styled(terminal_text(turn.fault), "$error"), room)
    took = figures(turn)
    if took:
        rows += [Content(INDENT) + Content.styled(line, "$quiet") for line in _fold(took, room)]
    return [*rows, Content("")]


def answer_content(parts: Sequence[tuple[str, str]]) -> Content:
    """The parts of an answer, without leading whitespace. Calculations are in brackets and in another color:
    [12 * 7 = 84]."""
    out: list[Content] = []
    open_call = False
    for number, (kind, text) in enumerate(parts):
        follows = parts[number + 1][0] if number + 1 < len(parts) else ""
        text = terminal_text(text)
        if kind == "text":
            if not out:
                text = text.lstrip(" \n")
            elif text[:1].isalnum():  # directly after a bracket
                text = f" {text}"
            out.append(Content(text))
            continue
        sign = _SIGNS[kind] if kind == "python" or open_call else "[= "
        open_call = kind == "python" and follows == "python_output"
        out.append(Content.styled(f"{sign}{text}{'' if open_call else ']'}", "$secondary"))
    return Content("").join(out)


def figures(turn: Turn) -> list[str]:
    """Figures of an answer as short texts: tokens, speed, time to the first token."""
    took = turn.figures
    if took is None:
        return ["stopped"] if turn.state == "stopped" else []
    found = [{"cancelled": "stopped", "length": "reached the token limit"}.get(took.end, "")]
    found += [f"{took.new_tokens:,} token{'s' * (took.new_tokens != 1)}", f"{speed(took)} tokens/s"]
    if took.first_token_seconds is not None:
        found.append(f"first token {formatting.duration(took.first_token_seconds)}")
    if took.truncated:
        found.append(f"{took.truncated} earlier message{'s' * (took.truncated != 1)} left out (context full)")
    return list(filter(None, found))


def speed(took: Finished) -> str:
    """Tokens per second with three digits."""
    rate = took.tokens_per_second
    return formatting.count(rate) if rate >= 1000 else f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"


def compared(left: Turn | None, right: Turn | None) -> str:
    """Compares the speed of two answers to the same message; empty until both are finished."""
    if left is None or right is None or left.question != right.question:
        return ""
    a, b = left.figures, right.figures
    if a is None or b is None or not a.tokens_per_second or not b.tokens_per_second:
        return ""
    ratio = a.tokens_per_second / b.tokens_per_second
    fast = "A" if ratio >= 1 else "B"
    ratio = max(ratio, 1 / ratio)
    said = ["same speed" if ratio < 1.05 else f"{fast} is {ratio:.1f}× as fast"]
    if a.first_token_seconds is not None and b.first_token_seconds is not None:
        gap = a.first_token_seconds - b.first_token_seconds
        if abs(gap) >= LEAST_GAP:
            said.append(f"{'A' if gap < 0 else 'B'} starts {formatting.duration(abs(gap))} earlier")
    said.append(f"{a.new_tokens:,} and {b.new_tokens:,} tokens")
    return " · ".join(said)


def _fold(texts: Sequence[str], room: int) -> list[str]:
    """Short texts joined by dots, as many per row as fit."""
    rows = [""]
    for text in texts:
        joined = f"{rows[-1]} · {text}" if rows[-1] else text
        if len(joined) > room and rows[-1]:
            rows.append(text)
        else:
            rows[-1] = joined
    return rows
