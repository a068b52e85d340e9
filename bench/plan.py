"""Measure the CPU seconds of planning: imports, a plan with its warnings, and the search for a time budget.

`python bench/plan.py` runs each in fresh processes and writes bench/results/plan.json. The limit, for all together
with the import: 0.3 s.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

RUNS = 7
LIMIT_SECONDS = 0.3
RESULTS = Path(__file__).parent / "results" / "plan.json"

# CPU time of the process: interpreter, imports and work separately
PROGRAM = """
import json, time
start = time.process_time()
from engine.plan import budget_search as search
from engine.config.schema import RunConfig
from engine.hardware.gpu_catalog import by_id
from engine.config.layers import from_dict
from engine.plan.plan import make_plan
from engine.plan.presets import load_preset
imported = time.process_time()
plan = make_plan(from_dict(load_preset("reference")), by_id("a100-40gb"))
planned = time.process_time()
found = search.candidates(RunConfig(), by_id("a100-40gb"), 12.0, price=1.29)
searched = time.process_time()
print(json.dumps({
    "interpreter": start,
    "import": imported - start,
    "plan": planned - imported,
    "search": searched - planned,
    "all": searched - start,
    "warnings": len(plan.warnings),
    "candidates": len(found),
}))
"""


def main() -> int:
    """Measure and write. Fails if a limit is exceeded."""
    runs = [
        json.loads(subprocess.run((sys.executable, "-c", PROGRAM), capture_output=True, check=True).stdout)
        for _ in range(RUNS)
    ]
    result = {
        "what": "CPU seconds, median of fresh processes",
        "command": "python bench/plan.py",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "runs": RUNS,
        "limit_seconds": LIMIT_SECONDS,
        **{key: round(statistics.median(run[key] for run in runs), 4) for key in runs[0]},
        "worst_all": round(max(run["all"] for run in runs), 4),
        "python": platform.python_version(),
        "msgspec": importlib.metadata.version("msgspec"),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 0 if result["all"] < LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
