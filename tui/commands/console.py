"""`nanosolo` alone: the console."""

import argparse

from engine.plan.config import Layer
from tui.commands.configuration import flags


def console(options: argparse.Namespace) -> int:
    """Open the console; --gpu and --price go with it."""
    from tui.app import run_console

    asked = flags(options)
    return run_console((Layer("flag", asked),) if asked else (), ascii_only=options.ascii)
