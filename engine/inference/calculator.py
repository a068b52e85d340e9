"""The calculator tool of the model: arithmetic and letter counting, parsed and never executed."""

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Sequence

from engine.data.tokenizer import Tokenizer

_MAX_CHARS = 200  # per expression; also bounds the size of numbers, as there are no powers
_MAX_RESULT_CHARS = 60
_EXACT = 2**53  # up to here every integer has an exact float
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}

Value = int | float | str


def calculate(expression: str) -> str | None:
    """The value of an expression as text, or None if it is not a supported expression.

    Numbers with + - * / // % and parentheses, and on strings in quotes .count("x"), .lower() and .upper().
    """
    text = _THOUSANDS.sub("", expression.strip())
    if len(text) > _MAX_CHARS:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # such as invalid escapes, which would reach the user
            value = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None
    if isinstance(value, str) or not math.isfinite(value):
        return None
    # 48 / 2 gives 24, as in the training data
    result = str(int(value) if abs(value) < _EXACT and value == int(value) else value)
    return result if len(result) <= _MAX_RESULT_CHARS else None


def _value(node: ast.expr) -> Value:
    """The value of a node. Raises ValueError for anything that is not listed here."""
    match node:
        case ast.Constant(value=int() | float() | str() as value) if not isinstance(value, bool):
            return value
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            return _BINARY[type(op)](_number(left), _number(right))
        case ast.UnaryOp(op, operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_number(operand))
        case ast.Call(func=ast.Attribute(value=owner, attr=method), args=arguments, keywords=[]):
            return _call(_text(owner), method, [_text(argument) for argument in arguments])
    raise ValueError("not a calculator expression")


def _call(text: str, method: str, arguments: list[str]) -> Value:
    match method, arguments:
        case "count", [what]:
            return text.count(what)
        case "lower", []:
            return text.lower()
        case "upper", []:
            return text.upper()
    raise ValueError("not a calculator method")


def _number(node: ast.expr) -> int | float:
    value = _value(node)
    if isinstance(value, str):
        raise ValueError("expected a number, got a string")
    return value


def _text(node: ast.expr) -> str:
    value = _value(node)
    if not isinstance(value, str):
        raise ValueError("expected a string, got a number")
    return value


class Calculator:
    """Watches the tokens of one answer, evaluates each expression between program tokens, and forces its value as the
    output that follows. Use it as `Request.force`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._program: list[int] | None = None

    def __call__(self, token: int) -> Sequence[int]:
        special = self._tokenizer.special_ids
        if token == special["<|python_start|>"]:
            self._program = []
        elif token == special["<|python_end|>"] and self._program is not None:
            result = calculate(self._tokenizer.decode(self._program))
            self._program = None
            if result is not None:
                return [special["<|output_start|>"], *self._tokenizer.encode(result), special["<|output_end|>"]]
        elif self._program is not None:
            self._program.append(token)
        return ()
