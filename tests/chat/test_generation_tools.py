"""The calculator: right values, and nothing else than values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.inference.calculator import Calculator, calculate
from tests.helpers.byte_tokenizer import byte_tokenizer


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("48/2", "24"),
        ("48+24", "72"),
        (" 1,234 * 2 ", "2468"),
        ("12,345,678 - 1", "12345677"),
        ("(3 - 5) * -2.5", "5"),
        ("1 / 8", "0.125"),
        ("7 // 2 + 7 % 4", "6"),
        ('"strawberry".count("r")', "3"),
        ("'a, b, c'.count(',')", "2"),
        ("'Mississippi'.lower().count('m') + 1", "2"),
    ],
)
def test_values(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "", "1 +", "2 ** 9", "1/0", "1e308 * 10", "1e999", "0/0", "x", "__import__('os')", "open('f')", "().__class__",
        "'a'.__class__", "'a'.format(1)", "'a' * 3", "'a' + 'b'", "'a'.lower()", "'a'.count('a', 0)",
        "'a'.count(x='a')",
        "1 if 1 else 2", "[1]", "True", "1j", "lambda: 1", "(" * 150 + "1" + ")" * 150, "-" * 199 + "1" + "0" * 200,
        "9" * 90 + "*" + "9" * 90, "f'{1}'", "1 < 2", "1;2", "1\n2", "\x00",
    ],
)  # fmt: skip
def test_what_has_no_value(expression: str) -> None:
    assert calculate(expression) is None


@pytest.mark.filterwarnings("error")
def test_odd_escapes_are_not_complained_of() -> None:
    assert calculate(r"'\d'.count('d')") == "1"


@given(st.recursive(
    st.integers(0, 9999).map(str),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner),
    max_leaves=8,
))  # fmt: skip
def test_arithmetic_is_pythons(expression: str) -> None:
    try:
        expected = eval(expression)
    except ZeroDivisionError:
        assert calculate(expression) is None
        return
    found = calculate(expression)
    if found is None:
        assert len(expression) > 200 or len(str(expected)) > 60
    else:
        assert float(found) == float(expected)


@given(st.text(max_size=220) | st.text("0123456789+-*/%().,'\"acount ", max_size=60))
def test_any_text_is_survived(text: str) -> None:
    value = calculate(text)
    assert value is None or float(value) is not None


def test_a_program_forces_its_output() -> None:
    tokenizer = byte_tokenizer()
    special = tokenizer.special_ids
    calculator = Calculator(tokenizer)
    quiet = [*tokenizer.encode("So "), special["<|python_start|>"], *tokenizer.encode("6*7")]
    assert [list(calculator(token)) for token in quiet] == [[]] * len(quiet)
    forced = [special["<|output_start|>"], *tokenizer.encode("42"), special["<|output_end|>"]]
    assert list(calculator(special["<|python_end|>"])) == forced
    assert [list(calculator(token)) for token in forced] == [[]] * len(forced)
    assert list(calculator(special["<|python_end|>"])) == []  # one that ends nothing
    for token in [special["<|python_start|>"], *tokenizer.encode("6*x")]:
        calculator(token)
    assert list(calculator(special["<|python_end|>"])) == []
