"""The long fault campaign: python bench/faults.py --minutes 20 [--workers 2] [--seed 1]; writes results/faults.json."""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tests.faults.baseline import midtraining, pretraining  # noqa: E402
from tests.faults.campaign import CampaignResult, Outcome, choose_faults, play  # noqa: E402
from tests.helpers import tiny_run  # noqa: E402  (found by the path above)

RESULT = ROOT / "bench" / "results" / "faults.json"


def main() -> int:
    """Run until the time is up. Returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    os.environ["NANOSOLO_HOME"] = str(folder / "home")
    base = tiny_run.Base(folder / "base")
    baselines = (pretraining(base, folder / "pretrain"), midtraining(base, folder / "midtrain"))
    began = time.monotonic()

    def one(seed: int) -> Outcome | None:
        if time.monotonic() - began > given.minutes * 60:
            return None
        return play(baselines[seed % 2], folder / f"run-{seed}", choose_faults(random.Random(seed)), seed)

    def seeds() -> Iterator[int]:
        return iter(range(given.seed * 1_000_000, given.seed * 1_000_000 + 100_000))

    result = CampaignResult()
    with ThreadPoolExecutor(given.workers) as pool:
        pending = seeds()
        running = {pool.submit(one, next(pending)) for _ in range(given.workers)}
        while running:
            done = next((future for future in running if future.done()), None)
            if done is None:
                time.sleep(0.1)
                continue
            running.remove(done)
            outcome = done.result()
            if outcome is None:
                continue
            result.add(outcome)
            running.add(pool.submit(one, next(pending)))
            count = sum(result.injected.values())
            print(f"{result.runs} runs, {count} faults, {len(result.lost)} lost", outcome.lost or "", flush=True)
    minutes = (time.monotonic() - began) / 60
    RESULT.write_text(json.dumps(report(result, minutes), indent=1) + "\n")
    print(RESULT.read_text())
    return 1 if result.lost or result.beyond_a_write else 0


def report(result: CampaignResult, minutes: float) -> dict[str, object]:
    """What was injected, survived and lost, and on which machine."""
    return {
        "what": f"faults at random moments in pretraining and midtraining, {tiny_run.STEPS} steps per run, "
        f"a checkpoint every {tiny_run.SAVE_EVERY}",
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", "bench/faults.py", *sys.argv[1:]]),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "torch": version("torch"), "nanosolo": version("nanosolo")},
        "minutes": round(minutes, 1),
        "runs": result.runs,
        "injected": sum(result.injected.values()),
        "survived": sum(result.survived.values()),
        "lost": len(result.lost),
        "of_runs_that_kept_their_checkpoints": {
            "most_steps_repeated": result.most_repeated,
            "repeated_more_than_save_every_and_those_made_during_a_write": result.beyond_a_write,
        },
        "by_kind": {
            name: {"injected": count, "survived": result.survived[name]}
            for name, count in sorted(result.injected.items())
        },
        "losses": [{"faults": list(o.faults), "lost": o.lost, "seed": o.seed} for o in result.lost],
    }


if __name__ == "__main__":
    sys.exit(main())
