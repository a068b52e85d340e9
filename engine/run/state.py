"""The state of a run: whether it is running, has ended, or died."""

import socket
import time
from typing import Literal

from engine.events.history import History
from engine.run.directory import RunDirectory

RunState = Literal[
    "new",  # never started
    "running",
    "stalled",  # running, but without a step for much longer than a step takes
    "orphaned",  # the runner died, the stage continues
    "elsewhere",  # another host runs it, so this one cannot tell
    "finished",
    "stopped",
    "failed",
    "damaged",  # its files cannot be read
]
STATES: dict[str, RunState] = {"done": "finished", "stopped": "stopped"}  # by the outcome of the run

STALL_FACTOR = 20  # no step for this many usual steps, and
STALL_SECONDS = 300.0  # for at least this long: stalled (a first compile takes up to 80 s)


def state_of(run: RunDirectory, history: History, now: float | None = None) -> RunState:
    """The state at Unix time `now` (default: now)."""
    if history.ended is None and history.started is not None and history.started.host != socket.gethostname():
        return "elsewhere"
    if run.is_running():
        if run.runner() is None:
            return "orphaned"
        return "stalled" if _is_silent(history, now or time.time()) else "running"
    if history.ended is not None:
        if history.requests.unclaimed:
            return "stopped"
        return STATES.get(history.ended.outcome, "failed")
    return "new" if history.started is None else "failed"


def _is_silent(history: History, now: float) -> bool:
    """Whether a training stage has completed no step for much longer than a step takes."""
    if history.current is None or history.current not in history.steps:
        return False
    columns = history.steps[history.current]
    pace = columns.recent_seconds()
    if not columns.time or pace is None:
        return False
    last = max(columns.time[-1], history.stages[history.current].started)
    return now - last > max(STALL_SECONDS, STALL_FACTOR * pace)
