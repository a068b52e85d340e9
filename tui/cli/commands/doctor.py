"""`nanosolo doctor`: checks whether this machine can train."""

import argparse
import sys

import msgspec

from engine.core.diagnostic import first_error
from engine.core.errors import EXIT_CRASHED, EXIT_DONE
from engine.diagnostics.device_checks import ANNOUNCEMENT, device_here
from engine.diagnostics.doctor import examine
from engine.hardware.probe_machine import probe_machine
from tui.cli.diagnostic_text import check_json, check_table


def doctor(options: argparse.Namespace) -> int:
    """Print all checks; where there is a GPU, try it as well. The exit code is 5 where something prevents training."""
    look = probe_machine()
    checks = examine(look)
    if look.gpu is not None:
        print(ANNOUNCEMENT, file=sys.stderr, flush=True)
        checks += [device_here(look.gpu)]
    if options.json:
        print(msgspec.json.format(msgspec.json.encode([check_json(check) for check in checks]), indent=2).decode())
    else:
        print("\n".join(check_table(checks)))
    return EXIT_DONE if first_error(checks) is None else EXIT_CRASHED
