"""Summaries of all runs, cheaply: the head and the tail of the events, and from then on only new events."""

import math
import time
from contextlib import suppress
from typing import NamedTuple

from engine.config.schema import RunConfig
from engine.core.errors import NanosoloError
from engine.core.paths import runs_home
from engine.events.history import History
from engine.events.kinds import AnyEvent, Evaluation, StageStarted, decode
from engine.events.log import EventReader
from engine.hardware.versions import Code, is_other, noted_code
from engine.run.directory import RunDirectory, list_runs
from engine.run.state import state_of
from engine.run.status import RunStatus, damaged, last_columns, remaining_seconds, run_status

HEAD_BYTES = 2**16  # who started it, and when
TAIL_BYTES = 2**18  # about a thousand steps
FAR_BYTES = 2**22  # how far back before the tail to look for the last evaluation
LONGEST_LINE = 2**16


class RunSummary(NamedTuple):
    """One line about a run. Numbers are NaN where they are not known."""

    run: RunDirectory
    status: RunStatus
    stage: str
    trained: str  # the training stage that step, steps, loss and speed are of; empty before its first step
    step: int
    steps: int
    loss: float
    val_bpb: float
    tokens_per_second: float
    remaining: float  # seconds until the running training stage is done
    exit_code: int | None  # of the last start, where it has ended
    age: float  # seconds since it was created
    silent: float  # seconds since its last event
    code: Code = Code()  # of nanosolo, that ran it last
    code_changed: bool = False  # whether other code is known to have run it before


class SummaryReader:
    """Reads the summary of one run again and again."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._reader = EventReader(run.events_file)
        self._history: History | None = None
        self._config: RunConfig | None = None
        self._fault = ""
        self._config_stamp: int | None = None

    def look(self, now: float | None = None) -> RunSummary:
        """The run as it is now. A damaged run does not raise: its status says so."""
        now = now if now is not None else time.time()
        self._read_config()
        history = self._read()
        if self._fault:
            said = damaged(self._fault)
        elif self._reader.damaged and history.started is None and not history.stages:
            said = damaged("no line of events.jsonl can be read: from a newer version, or not a run's events")
        else:
            state = state_of(self.run, history, now)
            said = run_status(self.run.name, state, history, now, self._config)
        return self._summary(said, history, now)

    def _summary(self, said: RunStatus, history: History, now: float) -> RunSummary:
        known = last_columns(history)
        columns = known[1] if known is not None else None
        bpb = history.latest("val_bpb")
        last = history.last_time
        return RunSummary(
            run=self.run,
            status=said,
            stage=history.current or "",
            trained=known[0] if known is not None else "",
            step=columns.step[-1] if columns else 0,
            steps=columns.steps if columns else 0,
            loss=columns.loss[-1] if columns else math.nan,
            val_bpb=bpb.value if bpb else math.nan,
            tokens_per_second=columns.tokens_per_second[-1] if columns else math.nan,
            remaining=math.nan if (left := remaining_seconds(history)) is None else left,
            exit_code=history.ended.exit_code if history.ended is not None else None,
            age=max(0.0, now - self._created(history, now)),
            silent=max(0.0, now - last) if last is not None else math.nan,
            code=(code := self._code(history)),
            code_changed=any(is_other(noted_code(s.version, s.versions), code) for s in history.starts)
            or any(warning.code == "code_changed" for warning in history.warnings),
        )

    def _code(self, history: History) -> Code:
        noted = self.run.code()
        if noted.version or history.started is None:
            return noted
        return noted_code(history.started.version, history.started.versions)

    def _created(self, history: History, now: float) -> float:
        if history.first_started is not None:
            return history.first_started
        for path in (self.run.config_file, self.run.path):
            with suppress(OSError):
                return path.stat().st_mtime
        return now

    def _read(self) -> History:
        history = self._history
        if history is None or self._reader.unread() > FAR_BYTES:
            history = self._history = self._begin()
        events = self._reader.read()
        if self._reader.restarted:
            history = self._history = History()
        history.apply_all(events)
        return history

    def _begin(self) -> History:
        """The head of the file, its tail, and where that holds no evaluation the last one before it."""
        self._reader = EventReader(self.run.events_file)
        size, history = self._reader.unread(), History()
        history.apply_all(self._reader.read(HEAD_BYTES))
        if size <= HEAD_BYTES + TAIL_BYTES:
            return history
        # what came between head and tail is not known
        history.current, history.ended, history.whole = None, None, False
        tail = EventReader(self.run.events_file)
        tail.skip_to(size - TAIL_BYTES)
        tail.damaged += self._reader.damaged
        self._reader = tail
        events = tail.read()
        if not any(isinstance(event, Evaluation) and event.metric == "val_bpb" for event in events):
            history.apply_all(self._evaluation_before(size - TAIL_BYTES))
        history.apply_all(events)
        return history

    def _evaluation_before(self, offset: int) -> list[AnyEvent]:
        """The last evaluation in a line that begins before `offset`, without decoding the events in between."""
        begin = max(0, offset - FAR_BYTES)
        try:
            with self.run.events_file.open("rb") as file:
                file.seek(begin)
                raw = file.read(offset - begin + LONGEST_LINE)
        except OSError:
            return []
        at = raw.rfind(b'"val_bpb"')
        event = decode(raw[raw.rfind(b"\n", 0, at) + 1 :].partition(b"\n")[0]) if at >= 0 else None
        return [event] if isinstance(event, Evaluation) else []

    def _read_config(self) -> None:
        try:
            stamp = self.run.config_file.stat().st_mtime_ns
        except OSError as error:
            self._fault, self._config_stamp = f"cannot read run.toml: {error.strerror}", None
            return
        if stamp != self._config_stamp:
            self._config_stamp = stamp
            try:
                self._config, self._fault = self.run.config(), ""
            except NanosoloError as error:
                self._config, self._fault = None, str(error).replace(f"{self.run.path}/", "")


def log_is_gone(run: RunDirectory) -> bool:
    """Whether engine.log is missing although a stage was started."""
    if run.log_file.exists():
        return False
    return any(isinstance(event, StageStarted) for event in EventReader(run.events_file).read(HEAD_BYTES))


class SummaryReaders:
    """Reads the summaries of all runs and remembers what it read of each."""

    def __init__(self) -> None:
        self._of: dict[str, SummaryReader] = {}

    def look(self, now: float | None = None) -> list[RunSummary]:
        """All runs, newest first; directories that lost their run.toml are among them, last. One that is removed
        meanwhile is left out."""
        runs = list(reversed(list_runs()))
        names = {run.name for run in runs}
        runs += [run for run in _without_config() if run.name not in names]
        self._of = {run.name: self._of.get(run.name) or SummaryReader(run) for run in runs}
        seen = [reader.look(now) for reader in self._of.values()]
        return [summary for summary in seen if summary.run.path.is_dir()]


def _without_config() -> list[RunDirectory]:
    """Directories that hold events but no configuration."""
    found = []
    with suppress(OSError):
        for path in sorted(runs_home().iterdir()):
            with suppress(OSError):  # what is not for us to see is no run of ours
                if (path / "events.jsonl").is_file():
                    found.append(RunDirectory(path))
    return found
