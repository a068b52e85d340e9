"""Leave in order when the terminal hangs up or someone asks: close the app, and if that cannot be, end anyway."""

import contextlib
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

PATIENCE_SECONDS = 2.0  # a terminal that stopped reading blocks the event loop: after this long nobody waits for it


def leave_on_signals(ask_to_leave: Callable[[int], None]) -> None:
    """On SIGHUP and SIGTERM call `ask_to_leave(128 + signal)`; end the process if it is still there a little later.

    Handlers of the interpreter are used, not of the event loop: these run also while the loop is blocked in a write.
    """
    attributes = _terminal_attributes()

    def leave(number: int, _frame: FrameType | None) -> None:
        timer = threading.Timer(PATIENCE_SECONDS, _end, (128 + number, attributes))
        timer.daemon = True
        timer.start()
        ask_to_leave(128 + number)

    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, leave)


def _end(code: int, attributes: list[Any] | None) -> None:
    if attributes is not None:
        with contextlib.suppress(termios.error, OSError, ValueError):  # the terminal may be gone
            termios.tcsetattr(sys.__stdin__.fileno(), termios.TCSANOW, attributes)  # type: ignore[union-attr]
    os._exit(code)


def _terminal_attributes() -> list[Any] | None:
    try:
        return termios.tcgetattr(sys.__stdin__.fileno())  # type: ignore[union-attr]
    except (termios.error, OSError, ValueError, AttributeError):
        return None
