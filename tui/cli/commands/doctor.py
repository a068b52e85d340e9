"""`nanosolo doctor`: what this machine is fit for."""

import argparse
import sys

import msgspec

from engine.core.errors import EXIT_CRASHED, EXIT_DONE
from engine.diagnostics.device_checks import ANNOUNCEMENT, device_here
from engine.diagnostics.doctor import examine
from engine.hardware.probe_machine import survey

MARKS = {"ok": "+", "note": "-", "warning": "!", "problem": "x"}


def doctor(options: argparse.Namespace) -> int:
    """Print all checks; where there is a GPU, try it as well. The exit code is 5 where something prevents training."""
    look = survey()
    checks = examine(look)
    if look.gpu is not None:
        print(ANNOUNCEMENT, file=sys.stderr, flush=True)
        checks += [device_here(look.gpu)]
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(checks), indent=2).decode())
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{MARKS[check.verdict]} {check.name:<{width}}  {check.finding}")
            if check.action:
                print(f"  {'':<{width}}  {check.action}")
    return EXIT_CRASHED if any(check.verdict == "problem" for check in checks) else EXIT_DONE
