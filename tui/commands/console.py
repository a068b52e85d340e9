"""`nanosolo` alone: the console."""

import argparse

from engine.plan.config import Layer
from tui.commands.configuration import flags


def console(options: argparse.Namespace) -> int:
    """Open the console; --gpu and --price go with it."""
    from tui.app import run_console

    return run_console((Layer("flag", flags(options)),), ascii_only=options.ascii)
