"""What a stage is given: its run, its configuration, and ways to record what happens."""

import signal
import time
from types import FrameType

from engine.config.schema import RunConfig
from engine.core.errors import Stopped
from engine.events.kinds import Event, Progress
from engine.events.log import EventLog
from engine.run.directory import RunDirectory

PROGRESS_SECONDS = 0.5  # between progress events
STAGE_END_SECONDS = 10.0  # how long the last events of a stage wait for a full disk
STAGE_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1}  # what a runner may pass on


class StageContext:
    """What a stage is given: its run, its configuration, and ways to record what happens."""

    def __init__(self, run: RunDirectory, stage: str) -> None:
        self.run = run
        self.stage = stage
        self.config: RunConfig = run.config()
        self._log = EventLog(run.events_file)
        self._last_progress = 0.0
        self.stop_asked = False
        self.checkpoint_asked = False
        self.stops_at_boundary = False  # a stage that sets this looks at stop_asked itself; else a stop ends it at once

    def close(self) -> None:
        """Write what a full disk held back, if it now can be."""
        self._log.close(patience=STAGE_END_SECONDS)

    def emit(self, event: Event) -> None:
        """Append an event to the run."""
        self._log.write(event)

    def sync(self) -> None:
        """Return when all events are on the disk. Raises NanosoloError when they cannot be."""
        self._log.sync()

    def progress(self, done: int, total: int, unit: str) -> None:
        """Report how far the stage is, at most twice a second and always at the end."""
        now = time.monotonic()
        if done < total and now - self._last_progress < PROGRESS_SECONDS:
            return
        self._last_progress = now
        self.emit(Progress(stage=self.stage, done=done, total=total, unit=unit))

    def on_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stop_asked = True
        if not self.stops_at_boundary:
            raise Stopped("stopped as asked")

    def on_checkpoint(self, _signal: int, _frame: FrameType | None) -> None:
        self.checkpoint_asked = True
