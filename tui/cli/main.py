"""The command line: run the module of the command. Imports neither torch nor textual by itself."""

import argparse
import importlib
import io
import os
import sys
from typing import NoReturn

from engine.core.errors import EXIT_CRASHED, EXIT_STOPPED, NanosoloError
from tui.cli.parser import build_parser

COMMANDS = {
    "console": "tui.cli.commands.console:console",
    "train": "tui.cli.commands.train:train",
    "configuration": "tui.cli.commands.plan:export",
    "plan": "tui.cli.commands.plan:show_plan",
    "config": "tui.cli.commands.config:config",
    "fit": "tui.cli.commands.fit:fit",
    "runs": "tui.cli.commands.runs:runs",
    "attach": "tui.cli.commands.train:attach",
    "stop": "tui.cli.commands.train:stop",
    "resume": "tui.cli.commands.train:resume",
    "logs": "tui.cli.commands.runs:logs",
    "report": "tui.cli.commands.runs:report",
    "chat": "tui.cli.commands.chat:chat",
    "export": "tui.cli.commands.export:export",
    "import": "tui.cli.commands.export:import_run",
    "doctor": "tui.cli.commands.doctor:doctor",
    "serve": "tui.cli.commands.console:serve",
    "completion": "tui.cli.completion:print_script",
}


def entry() -> NoReturn:
    """The `nanosolo` script."""
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        from tui.cli.completion import complete

        complete(build_parser())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows another
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has stopped reading
    sys.exit(code)


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    options = parse(arguments)
    try:
        module, _, name = COMMANDS[options.command].partition(":")
        return int(getattr(importlib.import_module(module), name)(options))
    except NanosoloError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_STOPPED
    except BrokenPipeError:
        return 0
    except Exception as error:
        if options.debug:
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())
        print(
            f"error: {what}. This should not happen. Run it again with --debug and report it.",
            file=sys.stderr,
        )
        return EXIT_CRASHED


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a command line. Without a command, `command` is `console`, `train` or `configuration`."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is not None and set(arguments[: arguments.index(options.command)]) - {"--debug"}:
        parser.error(f"options go after the command: nanosolo {options.command} {arguments[0]}")
    if options.command is None:
        if options.export is not None:
            options.command = "configuration"
        elif options.preset or options.config or options.set:
            options.command = "train"
        elif all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):  # keys come by stdin
            options.command = "console"
        else:
            parser.error("the console needs a terminal; to run without one, name a preset: --preset quickstart")
    return options
