"""Quit cleanly on SIGHUP and SIGTERM: close the app, and end the process if that does not work."""

import contextlib
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

PATIENCE_SECONDS = 2.0  # a terminal that stopped reading blocks the event loop; wait no longer than this


def quit_on_signals(close: Callable[[int], None]) -> None:
    """On SIGHUP and SIGTERM, call `close(128 + signal)`; end the process if it still runs two seconds later.

    Uses signal handlers of the interpreter, which run even while the event loop is blocked in a write.
    """
    attributes = _terminal_attributes()

    def quit_(number: int, _frame: FrameType | None) -> None:
        timer = threading.Timer(PATIENCE_SECONDS, _end, (128 + number, attributes))
        timer.daemon = True
        timer.start()
        close(128 + number)

    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, quit_)


def _end(code: int, attributes: list[Any] | None) -> None:
    if attributes is not None:
        with contextlib.suppress(termios.error, OSError, ValueError):  # the terminal may be closed
            termios.tcsetattr(sys.__stdin__.fileno(), termios.TCSANOW, attributes)  # type: ignore[union-attr]
    os._exit(code)


def _terminal_attributes() -> list[Any] | None:
    try:
        return termios.tcgetattr(sys.__stdin__.fileno())  # type: ignore[union-attr]
    except (termios.error, OSError, ValueError, AttributeError):
        return None
