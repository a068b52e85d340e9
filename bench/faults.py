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

from tests.faults.campaign import CampaignResult, Outcome, deal, play  # noqa: E402
from tests.faults.ground import midtraining, pretraining  # noqa: E402
from tests.helpers import tiny_run  # noqa: E402  (found by the path above)

RESULT = ROOT / "bench" / "results" / "faults.json"


def main() -> int:
    """Run until the time is up; 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    os.environ["NANOSOLO_HOME"] = str(folder / "home")
    base = tiny_run.Base(folder / "base")
    grounds = (pretraining(base, folder / "pretrain"), midtraining(base, folder / "midtrain"))
    began = time.monotonic()

    def one(seed: int) -> Outcome | None:
        if time.monotonic() - began > given.minutes * 60:
            return None
        return play(grounds[seed % 2], folder / f"run-{seed}", deal(random.Random(seed)), seed)

    def seeds() -> Iterator[int]:
        return iter(range(given.seed * 1_000_000, given.seed * 1_000_000 + 100_000))

    tally = CampaignResult()
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
            tally.add(outcome)
            running.add(pool.submit(one, next(pending)))
            count = sum(tally.injected.values())
            print(f"{tally.runs} runs, {count} faults, {len(tally.lost)} lost", outcome.lost or "", flush=True)
    minutes = (time.monotonic() - began) / 60
    RESULT.write_text(json.dumps(report(tally, minutes), indent=1) + "\n")
    print(RESULT.read_text())
    return 1 if tally.lost or tally.beyond_a_write else 0


def report(tally: CampaignResult, minutes: float) -> dict[str, object]:
    """What was injected, survived and lost, and on what."""
    return {
        "what": f"faults at moments of chance in pretraining and midtraining, {tiny_run.STEPS} steps a run, "
        f"a checkpoint every {tiny_run.SAVE_EVERY}",
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", "bench/faults.py", *sys.argv[1:]]),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "torch": version("torch"), "nanosolo": version("nanosolo")},
        "minutes": round(minutes, 1),
        "runs": tally.runs,
        "injected": sum(tally.injected.values()),
        "survived": sum(tally.survived.values()),
        "lost": len(tally.lost),
        "of_runs_that_kept_their_checkpoints": {
            "most_steps_repeated": tally.most_repeated,
            "repeated_more_than_save_every_and_those_made_during_a_write": tally.beyond_a_write,
        },
        "by_kind": {
            name: {"injected": count, "survived": tally.survived[name]}
            for name, count in sorted(tally.injected.items())
        },
        "losses": [{"faults": list(o.faults), "lost": o.lost, "seed": o.seed} for o in tally.lost],
    }


if __name__ == "__main__":
    sys.exit(main())
