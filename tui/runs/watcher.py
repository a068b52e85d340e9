"""Watches one run from a thread: reads new events and notifies the console."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from engine.config.schema import RunConfig
from engine.core.errors import NanosoloError
from engine.events.history import History
from engine.events.log import EventReader
from engine.plan.plan import Plan
from engine.run.directory import RunDirectory
from engine.run.planning import plan_here
from engine.run.state import RunState, state_of

CHUNK_BYTES = 2**20  # of events.jsonl at a time, so that what is shown grows while a long run is read
LOADING_SECONDS = 0.4  # between two notes while reading a long run; the first comes with the first chunk
SHARE_OF_A_CORE = 0.01  # the watcher slows down when it would cost more than this
MOST_SECONDS = 5.0  # but looks at least this often


class News(NamedTuple):
    """What the watcher found: enough to show the run's status without reading the disk."""

    state: RunState
    loading: bool  # more events can be read at once
    generation: int  # grows when events.jsonl was replaced, so that all that was known of it is void
    changed: bool  # there are new events
    faults: tuple[str, ...]  # what is wrong with events.jsonl, one line each


class RunWatcher:
    """Follows `run`. Calls `tell(news)` from its thread; `history` is to be read under `lock`.

    `tell` must be quick and safe to call from a thread: post a message.
    """

    def __init__(self, run: RunDirectory, tell: Callable[[News], None], seconds: float = 0.5) -> None:
        self.run = run
        self.history = History()
        self.lock = threading.RLock()  # reentrant: rows built under it may trigger another build
        self.config: RunConfig | None = None
        self.plan: Plan | None = None
        self.config_fault = ""
        self._tell = tell
        self._seconds = seconds
        self._reader = EventReader(run.events_file)
        self._generation = 0
        self._replaced = 0
        self._seen = False  # whether events.jsonl was ever there
        self._config_stamp: tuple[int, int] | None = None
        self._last: News | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watch {run.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop soon. After this returns there are no new calls of `tell`, but one may be running."""
        self._stop.set()

    def wake(self) -> None:
        """Look again at the next turn, also where nothing seems new."""
        self._last = None

    def _watch(self) -> None:
        while not self._stop.is_set():
            began, settled = time.thread_time(), self._last is not None and not self._reader_is_behind()
            with suppress(OSError):  # a network disk that is away for a while
                self._turn()
            self._stop.wait(pause(self._seconds, time.thread_time() - began, settled))

    def _turn(self) -> None:
        """Read new events and report them."""
        self._read_config()
        changed = self._read()
        state = state_of(self.run, self.history)
        if state == "failed" and self.history.ended is None:
            # its last events may have been written after the read and before the state was checked
            changed = self._read() or changed
            state = state_of(self.run, self.history)
        self._report(state, loading=False, changed=changed)

    def _read(self) -> bool:
        """Take in all that is there, telling now and then when it is much. Returns whether anything was new."""
        told = time.monotonic() if self._last is not None else -LOADING_SECONDS
        changed = False
        for events in self._reader.batches(CHUNK_BYTES):
            if self._stop.is_set():
                break
            if self._reader.restarted:
                self._replaced += 1
                self._generation += 1
                changed = True
                with self.lock:
                    self.history = History()
            with self.lock:
                self.history.apply_all(events)
            changed = changed or bool(events)
            if time.monotonic() - told > LOADING_SECONDS and self._reader_is_behind():
                told = time.monotonic()
                self._report(state_of(self.run, self.history), loading=True, changed=True)
        return changed

    def _reader_is_behind(self) -> bool:
        """Whether there is at least another chunk to read."""
        return self._reader.unread() >= CHUNK_BYTES

    def _report(self, state: RunState, loading: bool, changed: bool) -> None:
        news = News(state, loading, self._generation, changed, self._faults())
        if self._stop.is_set() or (not changed and news == self._last):
            return
        self._last = news._replace(changed=False)
        self._tell(news)

    def _faults(self) -> tuple[str, ...]:
        faults = []
        exists = self.run.events_file.exists()
        self._seen = self._seen or exists
        if not self.run.path.exists():
            faults.append("the run's directory was deleted; this shows what was read before")
        elif self._seen and not exists:
            faults.append("events.jsonl was deleted; this shows what was read before")
        if self._replaced:
            faults.append("events.jsonl was replaced or cut short and has been read again")
        if self._reader.damaged:
            lines = "1 line" if self._reader.damaged == 1 else f"{self._reader.damaged:,} lines"
            faults.append(f"{lines} of events.jsonl left out: damaged, or from a newer version")
        jumps = self.history.clock_jumps
        if jumps:
            times = "once" if jumps == 1 else f"{jumps:,} times"
            faults.append(f"the clock of the run went backwards {times}: ages may be wrong")
        if self.config_fault:
            faults.append(self.config_fault)
        return tuple(faults)

    def _read_config(self) -> None:
        """Read configuration and plan again when their file changed: a relaunch replaces them."""
        with suppress(OSError):
            status = self.run.config_file.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._config_stamp:
                return
            self._config_stamp = stamp
            try:
                self.config, self.config_fault = self.run.config(), ""
            except NanosoloError as error:
                self.config, self.config_fault = None, str(error).replace(f"{self.run.path}/", "")
            self.plan = self.run.plan() or _plan_again(self.config)


def pause(seconds: float, cost: float, settled: bool) -> float:
    """Seconds until the next turn, after one that took `cost` seconds of a core.

    Reading what was there before, which is done once (not `settled`), is no reason to look less often.
    """
    return max(seconds, min(cost / SHARE_OF_A_CORE, MOST_SECONDS)) if settled else seconds


def _plan_again(config: RunConfig | None) -> Plan | None:
    """The plan of a run whose plan.json is missing or of another version, where its configuration names the device."""
    if config is None or config.runtime.gpu == "auto":
        return None
    with suppress(NanosoloError):
        return plan_here(config)
    return None
