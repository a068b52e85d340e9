"""`nanosolo doctor`: what this machine is fit for."""

import argparse

import msgspec

from engine.errors import EXIT_CRASHED, EXIT_DONE
from engine.run.doctor import examine

MARKS = {"ok": "+", "note": "-", "warning": "!", "problem": "x"}


def doctor(options: argparse.Namespace) -> int:
    """Print all checks. The exit code is 5 where something stands in the way of training."""
    checks = examine()
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(checks), indent=2).decode())
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{MARKS[check.verdict]} {check.name:<{width}}  {check.finding}")
            if check.action:
                print(f"  {'':<{width}}  {check.action}")
    return EXIT_CRASHED if any(check.verdict == "problem" for check in checks) else EXIT_DONE
