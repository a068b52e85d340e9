"""One run with faults: start it, disturb it at a random moment, run it to its end, compare the result."""

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from engine.core.errors import NanosoloError
from engine.events.history import History, read_history
from engine.events.kinds import Resumed, Step
from engine.events.log import read_events
from engine.launch.start import resume_run
from engine.run.stage_status import is_finished
from engine.stages.tokenize import TokensUsed
from tests.faults.baseline import Baseline
from tests.helpers.tiny_run import SAVE_EVERY, STEPS, final_weights, losses

PATIENCE = 180.0  # seconds until a started run must have ended, on a busy machine
Losses = dict[int, float]


class Lost(Exception):
    """A fault had an effect that it must not have."""


class FaultedRun:
    """A run, its processes and its expected result."""

    def __init__(self, baseline: Baseline, folder: Path, draw: random.Random) -> None:
        self.run = baseline.run(folder)
        self.stage = baseline.stage
        self.draw = draw
        self.expected = losses(baseline.undisturbed, self.stage)
        self.expected_weights = final_weights(baseline.undisturbed, stage=self.stage)
        self.events_hurt_at = 0  # the last step whose line a fault may have damaged
        self._own_tokens(folder)

    def _own_tokens(self, folder: Path) -> None:
        """A copy of the tokens, which a fault may damage."""
        path = self.run.tokens_file
        used = msgspec.json.decode(path.read_bytes(), type=TokensUsed)
        own = folder / "tokens"
        shutil.copytree(used.directory, own)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(used, directory=str(own))))

    # state

    def history(self) -> History:
        return read_history(self.run.events_file)

    def reached(self) -> int:
        """The last step in the events."""
        columns = self.history().columns(self.stage)
        return columns.step[-1] if len(columns) else 0

    def is_done(self) -> bool:
        return not self.run.is_running() and is_finished(self.run)

    def runner(self) -> int | None:
        info = self.run.runner()
        return info.pid if info else None

    def trainer(self) -> int | None:
        view = self.history().stages.get(self.stage)
        if view is None or view.ended is not None:
            return None
        with contextlib.suppress(psutil.Error):
            return view.pid if str(self.run.path) in psutil.Process(view.pid).cmdline() else None
        return None

    def checkpoints(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.run.checkpoints(self.stage).glob("step_*[0-9]"))

    # actions

    def start(self) -> None:
        """Resume the run. Raises NanosoloError if it is refused."""
        resume_run(self.run)

    def at_some_moment(self) -> None:
        """Start the run if it is not active, then wait for a random time; it may have ended by then."""
        if not self.run.is_running():
            self.start()
        if self.draw.random() < 0.3:
            time.sleep(self.draw.uniform(0, 4))  # often during start-up
            return
        step = min(STEPS, self.reached() + self.draw.randint(1, 2 * SAVE_EVERY + 1))
        self.wait_until(lambda: self.reached() >= step or not self.run.is_running(), f"step {step}")
        time.sleep(self.draw.uniform(0, 0.08))

    def signal(self, pid: int | None, number: signal.Signals) -> None:
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def processes(self) -> list[int]:
        """Runner and trainer, also a trainer that has not written an event yet."""
        pids = [pid for pid in (self.runner(), self.trainer()) if pid is not None]
        for pid in tuple(pids):
            with contextlib.suppress(psutil.Error):
                pids += [child.pid for child in psutil.Process(pid).children()]
        return list(dict.fromkeys(pids))

    def kill_all(self) -> None:
        """Kill all processes, like a machine that goes down."""
        for pid in self.processes():  # the runner first, so that it starts nothing new
            self.signal(pid, signal.SIGKILL)
        self.wait_until_over()

    def down(self) -> None:
        """Make sure that the run has started and is not active: as it is, or by a kill at a random moment."""
        if self.run.is_running() or self.stage not in self.history().stages:
            self.at_some_moment()
            self.kill_all()

    def wait_until_over(self) -> None:
        self.wait_until(lambda: not self.run.is_running(), "the end of its processes")

    def wait_until(self, there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not there():
            if time.monotonic() > deadline:
                raise Lost(f"{what} did not come within {PATIENCE:.0f} s")
            time.sleep(0.02)

    # result

    def finish(self) -> None:
        """Resume until it is done. Raises Lost."""
        for _ in range(4):
            self.wait_until_over()
            if self.is_done():
                return
            try:
                self.start()
            except NanosoloError as error:
                if self.is_done():
                    return
                raise Lost(f"cannot go on: {error}") from None
            self.wait_until_over()
        if not self.is_done():
            ended = self.history().ended
            raise Lost(f"did not finish: {ended.message if ended else 'no word'}")

    def judge(self) -> int:
        """Compare with the undisturbed run. Returns the largest number of steps repeated at once. Raises Lost."""
        found = losses(self.run, self.stage)
        expected = {step: loss for step, loss in self.expected.items() if step > self.events_hurt_at}
        if {step: loss for step, loss in found.items() if step > self.events_hurt_at} != expected:
            wrong = sorted(step for step in expected if found.get(step) != expected[step])
            raise Lost(f"steps {wrong[:5]} are missing or have another loss")
        if final_weights(self.run, stage=self.stage) != self.expected_weights:
            raise Lost("the final weights differ")
        return self.most_repeated()

    def most_repeated(self) -> int:
        reached = most = 0
        for event in read_events(self.run.events_file):
            if isinstance(event, Step) and event.stage == self.stage:
                reached = event.step
            elif isinstance(event, Resumed) and event.stage == self.stage:
                most, reached = max(most, reached - event.step), event.step
        return most

    def close(self) -> None:
        with contextlib.suppress(Lost):
            self.kill_all()
