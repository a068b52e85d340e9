"""Run the scenarios, print which checks passed, and write the results. Start it with run.sh."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import answers
import failure_checks
import findings
import memory_checks
import pipelines
import refusals
from findings import Check
from provenance import provenance
from session import Session

Scenario = Callable[[Session], Iterator[Check]]

SCENARIOS: dict[str, Scenario] = {
    "refusals": refusals.refusals,
    "smoke": pipelines.smoke,
    "balanced": pipelines.balanced,
    "resume": pipelines.resume,
    "rl": pipelines.rl,
    "fit": pipelines.fit,
    "ladder": pipelines.ladder,
    "answers": answers.answers,
    "deterministic": failure_checks.deterministic,
    "fabric": failure_checks.fabric,
    "exhausted": failure_checks.exhausted,
    "modes": memory_checks.modes,
    "memory": memory_checks.memory,
}
PACKAGES = ("torch", "triton", "nvidia-ml-py", "numpy")


def main(arguments: list[str]) -> int:
    """Exit codes: 0 all checks passed, 1 a check failed."""
    options = _parse(arguments)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="nullgpu-"))
    session = Session(folder)
    checks: list[Check] = []
    seconds: dict[str, float] = {}
    print(f"null GPU: logs in {folder}", flush=True)
    for name in options.scenarios or SCENARIOS:
        began = time.monotonic()
        print(f"== {name}", flush=True)
        try:
            for check in SCENARIOS[name](session):
                checks.append(check)
                print(findings.table([check]), flush=True)
                _write(options, session, checks, seconds)  # after each, so that nothing is lost
        except Exception as error:  # an error counts as a failed check; the others still run
            checks.append(Check(name, "comes to its end", f"{type(error).__name__}: {error}", "yes", False))
            print(findings.table(checks[-1:]), flush=True)
        seconds[name] = round(time.monotonic() - began, 1)
        _write(options, session, checks, seconds)
    failed = [check for check in checks if not check.holds]
    print(f"\n{len(checks) - len(failed)} of {len(checks)} checks held; results in {options.output}")
    if failed:
        print(findings.table(failed))
    elif not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    described = "".join(f"\n  {name:<14}{(run.__doc__ or '').strip()}" for name, run in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="bench/nullgpu/run.sh",
        description=f"{__doc__}\n\nscenarios:{described}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all of them, in this order")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, default=Path("bench/results/nullgpu.json"), help="where results go"
    )
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="work in this folder, and leave it")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario is called {unknown[0]}; there are {', '.join(SCENARIOS)}")
    return options


def _write(options: argparse.Namespace, session: Session, checks: list[Check], seconds: dict[str, float]) -> None:
    """All results so far."""
    head = provenance("cuda", PACKAGES)
    # without the options, which say where files go
    head["command"] = " ".join(["bash bench/nullgpu/run.sh", *options.scenarios])
    head["machine"]["device"] = f"null GPU ({head['machine']['device']})"
    results = {
        **head,
        "seconds": seconds,
        "held": all(check.holds for check in checks),
        "checks": [check._asdict() for check in checks],
        "measured": session.measured,
    }
    path: Path = options.output
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
