"""`nanosolo` alone: the console; `nanosolo serve`: the console in a browser."""

import argparse

from engine.config.layers import Layer
from tui.cli.commands.configuration import flags


def console(options: argparse.Namespace) -> int:
    """Open the console; --gpu and --price go with it."""
    from tui.app import run_console

    asked = flags(options)
    return run_console((Layer("flag", asked),) if asked else (), ascii_only=options.ascii)


def serve(options: argparse.Namespace) -> int:
    """Serve the console to browsers until interrupted."""
    from tui.cli.web import serve

    return serve(options.host, options.port, options.allow_remote, options.token)
