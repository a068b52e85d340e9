"""Types of options of the command line, for argparse."""

import argparse


def count(text: str) -> int:
    """A whole number, 1 or more."""
    if (value := number(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 1 or more")
    return value


def number(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number")
    return int(text)


def whole(text: str) -> int:
    """A whole number. The command that uses it checks the range."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number") from None


def decimal(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected a number") from None


def port(text: str) -> int:
    """A port number."""
    if not 1 <= (value := number(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: expected a port (1–65535)")
    return value
