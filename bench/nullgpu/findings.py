"""Read the counters of runs on the null GPU: the costs of steps and other events, and which are too high.

Pure functions over the lines that shim/sitecustomize.py writes; no torch.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

COUNTS = (
    "kernels",
    "triton",
    "gemms",
    "stream_syncs",
    "device_syncs",
    "event_syncs",
    "blocking",
    "pageable",
    "graphs",
    "breaks",
)
SYNCS = ("stream_syncs", "device_syncs", "event_syncs", "blocking")
LAUNCHES = ("kernels", "triton", "gemms")
WIDEST = 56  # characters of a table column; longer text is not cut


class Check(NamedTuple):
    """One check: what must be true, and what was found."""

    scenario: str
    what: str
    found: str
    wanted: str
    holds: bool


class Cost(NamedTuple):
    """Counts of the device and the compiler between one event of a process and the event before."""

    pid: int
    stage: str
    kind: str  # of the event that ends it: Step, Evaluation, Sample, ...
    step: int
    counts: dict[str, int]

    @property
    def syncs(self) -> int:
        """The number of times the host waited for the device."""
        return sum(self.counts[name] for name in SYNCS)

    @property
    def launches(self) -> int:
        """Kernels and matrix products."""
        return sum(self.counts[name] for name in LAUNCHES)


def read_account(text: str) -> list[Cost]:
    """The costs, in order; what a process did before its first event is the cost of that event."""
    before: dict[int, dict[str, int]] = {}
    found = []
    for line in text.splitlines():
        entry: dict[str, Any] = json.loads(line)
        earlier = before.get(entry["pid"], {})
        counts = {name: entry[name] - earlier.get(name, 0) for name in COUNTS}
        before[entry["pid"]] = entry
        found.append(Cost(entry["pid"], entry["stage"], entry["kind"], entry["step"], counts))
    return found


def of_each_process(costs: Sequence[Cost]) -> Iterator[list[Cost]]:
    """The costs of one process after the other."""
    for pid in dict.fromkeys(cost.pid for cost in costs):
        yield [cost for cost in costs if cost.pid == pid]


def warm_steps(costs: Sequence[Cost], stage: str) -> list[Cost]:
    """The steps of a stage that compiled nothing: all except the first of each process and the first after an
    out-of-memory."""
    found = []
    for process in of_each_process([cost for cost in costs if cost.stage == stage]):
        cold = True
        for cost in process:
            if cost.kind == "OutOfMemory":
                cold = True
            elif cost.kind == "Step":
                if not cold:
                    found.append(cost)
                cold = False
    return found


def steady_steps(costs: Sequence[Cost], stage: str) -> list[Cost]:
    """Warm steps without a checkpoint copy, which a thread does that also waits for the device."""
    copied: set[tuple[int, int]] = set()
    for process in of_each_process([cost for cost in costs if cost.stage == stage]):
        last_step = 0
        for cost in process:
            if cost.kind == "Checkpoint":
                copied |= {(cost.pid, step) for step in range(cost.step + 1, last_step + 1)}
            elif cost.kind == "Step":
                last_step = cost.step
    return [cost for cost in warm_steps(costs, stage) if (cost.pid, cost.step) not in copied]


def later_ones(costs: Sequence[Cost], stage: str, kind: str) -> list[Cost]:
    """All costs of a kind except the first of each process."""
    return [
        cost
        for process in of_each_process([c for c in costs if (c.stage, c.kind) == (stage, kind)])
        for cost in process[1:]
    ]


def stage_checks(scenario: str, costs: Sequence[Cost], stages: Iterable[str]) -> Iterator[Check]:
    """Checks of stages that train: one wait per step, no recompilation, no graph break."""
    for stage in stages:
        steps = steady_steps(costs, stage)
        yield _every(scenario, f"host syncs of a {stage} step", steps, lambda cost: cost.syncs, 1)
        # reading loss and norm goes to ordinary memory, and is the wait itself
        yield _every(
            scenario, f"copies of a {stage} step that are not pinned", steps, lambda cost: cost.counts["pageable"], 1
        )
        yield none_of(scenario, f"graphs compiled in warm {stage} steps", warm_steps(costs, stage), "graphs")
        for kind in ("Evaluation", "Sample"):
            later = later_ones(costs, stage, kind)
            if later:
                what = f"graphs compiled in later {stage} {kind.lower()}s"
                yield none_of(scenario, what, later, "graphs")
    yield none_of(scenario, "graph breaks", costs, "breaks")


def usual_syncs(scenario: str, costs: Sequence[Cost], stage: str, kind: str, wanted: int) -> Check:
    """The usual number of waits for all events of a kind after one step (a checkpoint copy adds some)."""
    rounds: dict[tuple[int, int], int] = {}
    for cost in costs:
        if (cost.stage, cost.kind) == (stage, kind):
            key = cost.pid, cost.step
            rounds[key] = rounds.get(key, 0) + cost.syncs
    firsts = {min(key for key in rounds if key[0] == pid) for pid, _ in rounds}
    later = [syncs for key, syncs in rounds.items() if key not in firsts]
    usual = most_frequent(later)
    what = f"usual host syncs of the {kind.lower()}s after a {stage} step"
    return Check(scenario, what, f"{usual} in {len(later)} rounds", str(wanted), usual == wanted)


def _every(scenario: str, what: str, costs: Sequence[Cost], count: Callable[[Cost], int], wanted: int) -> Check:
    values = sorted({count(cost) for cost in costs})
    found = " and ".join(map(str, values)) or "no step"
    return Check(scenario, what, f"{found} in {len(costs)} steps", str(wanted), values == [wanted])


def none_of(scenario: str, what: str, costs: Sequence[Cost], name: str) -> Check:
    """Check that a count is 0; fails if there is nothing to count."""
    total = sum(cost.counts[name] for cost in costs)
    return Check(scenario, what, f"{total} in {len(costs)} events", "0", bool(costs) and total == 0)


def cost_table(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """For each stage and kind of event: the cost of the first of its process, and the most frequent cost later."""
    rows = []
    for stage, kind in dict.fromkeys((cost.stage, cost.kind) for cost in costs):
        of_kind = [cost for cost in costs if (cost.stage, cost.kind) == (stage, kind)]
        later = steady_steps(costs, stage) if kind == "Step" else later_ones(costs, stage, kind)
        rows.append(
            {
                "stage": stage,
                "event": kind,
                "count": len(of_kind),
                "graphs_at_first": of_kind[0].counts["graphs"],
                "graphs_later": sum(cost.counts["graphs"] for cost in later),
                "launches": most_frequent([cost.launches for cost in later]),
                "triton": most_frequent([cost.counts["triton"] for cost in later]),
                "gemms": most_frequent([cost.counts["gemms"] for cost in later]),
                "syncs": most_frequent([cost.syncs for cost in later]),
            }
        )
    return rows


def most_frequent(values: Sequence[int]) -> int | None:
    """The most frequent value, the smaller of equals; None without values."""
    return min(set(values), key=lambda value: (-values.count(value), value), default=None)


def table(checks: Sequence[Check]) -> str:
    """The checks as lines of text: what was checked, found and expected."""
    widths = [min(WIDEST, max((len(check[column]) for check in checks), default=0)) for column in range(4)]
    return "\n".join(
        f"{'+' if check.holds else 'x'} "
        + "  ".join(text.ljust(width) for text, width in zip(check[:4], widths, strict=True)).rstrip()
        for check in checks
    )
