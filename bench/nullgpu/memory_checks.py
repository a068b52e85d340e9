"""Scenarios that measure memory and compilation: every preset at full size, and one model in every mode."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from findings import Check
from session import PATIENCE, Session

from engine.core.units import GIB
from engine.plan.memory import CHECKPOINTING_MODES
from engine.plan.presets import preset_names
from engine.run.environment import torch_environment

LARGEST_ERROR = 0.015  # of the formula at the peak, and for a phase above its formula, as a share of the peak
LARGEST_SURPLUS = 0.03  # and below it: Inductor may share buffers
CARD_GIB = 79.15
SEGMENTS = {"expandable": {}, "plain": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:False"}}  # runs: expandable


def memory(session: Session) -> Iterator[Check]:
    """Peak memory of each preset against the formula, phase by phase."""
    for preset in preset_names():
        yield from _checked(session, "memory", preset, {}, "expandable")


def modes(session: Session) -> Iterator[Check]:
    """Balanced in each checkpointing mode, with each kind of segments: reserved and allocated memory."""
    for mode in CHECKPOINTING_MODES:
        for segments in SEGMENTS:
            yield from _checked(session, "modes", "balanced", {"batch.activation_checkpointing": mode}, segments)


def _checked(
    session: Session, scenario: str, preset: str, changes: Mapping[str, Any], segments: str
) -> Iterator[Check]:
    name = ", ".join([preset, *map(str, changes.values()), f"{segments} segments"])
    case = _case(session, scenario, preset, changes, segments)
    if case is None:
        yield Check(scenario, name, "failed", f"within {LARGEST_ERROR:.1%}", False)
        return
    session.measured.setdefault(scenario, []).append(case)
    error = case["predicted"] / case["peak"] - 1
    off = {phase: (sizes["predicted"] - sizes["found"]) / case["peak"] for phase, sizes in case["phases"].items()}
    worst = max(off, key=lambda phase: abs(off[phase]))
    found = f"{case['peak'] / GIB:.3f} GiB, formula {error:+.2%}, {worst} {off[worst]:+.2%}"
    holds = abs(error) <= LARGEST_ERROR and all(-LARGEST_ERROR <= part <= LARGEST_SURPLUS for part in off.values())
    yield Check(scenario, name, found, f"within {LARGEST_ERROR:.1%}", holds)
    again = case["graphs_later"] + case["breaks"]
    yield Check(scenario, f"{name}: graphs compiled again, or broken", str(again), "0", again == 0)
    print(
        f"  {name}: reserved {case['slack']:+.1%} over allocated; compiling took {case['compile']['wall']:.0f} s, of "
        f"cores {case['compile']['cpu']:.0f} s and {case['compile']['workers']:.0f} s in workers",
        flush=True,
    )


def _case(
    session: Session, scenario: str, preset: str, changes: Mapping[str, Any], segments: str
) -> dict[str, Any] | None:
    """One case in a separate process, with the caches of this session: the first of its kind compiles."""
    script = Path(__file__).with_name("memory_case.py")
    command = [sys.executable, str(script), preset, json.dumps(dict(changes))]
    environment = {
        **torch_environment(),
        **SEGMENTS[segments],
        "NULLGPU_GIB": str(CARD_GIB),
        "TORCHINDUCTOR_CACHE_DIR": str(session.folder / "cold" / "inductor"),
        "TRITON_CACHE_DIR": str(session.folder / "cold" / "triton"),
    }
    with (session.folder / f"{scenario}.log").open("ab") as log:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=log, env=environment, timeout=PATIENCE, check=False
        )
    if done.returncode:
        print(f"  {preset}: exit code {done.returncode}; see {log.name}", file=sys.stderr)
        return None
    return dict(json.loads(done.stdout.splitlines()[-1]))
