"""Follows a run as text: one line per thing that happened, and on a terminal one line that moves."""

import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from engine.core import formatting
from engine.core.errors import EXIT_CRASHED
from engine.core.sanitize import one_line
from engine.events import kinds
from engine.events.attempts import of_last_pass, seconds_at_work
from engine.events.history import History
from engine.events.kinds import AnyEvent
from engine.events.log import EventReader
from engine.events.scores import REWARD, direction
from engine.run.directory import RunDirectory
from engine.run.status import progress_words, remaining_seconds
from tui.cli.catch_up import Abridged, Printer, has_line, lines_before
from tui.cli.progress_bar import progress_line

POLL_SECONDS = 0.25
GRACE_SECONDS = 2.0  # a runner that is gone may have written its last events a moment ago
ELSEWHERE_SECONDS = 60.0  # a runner writes every 5 s
PROGRESS_SHARES = 10  # lines of progress that a stage gets where output is no terminal

_object = msgspec.json.Decoder(dict)


def follow(run: RunDirectory, *, every: int = 10, as_json: bool = False, skip: int = 0, last: int = 0) -> int | None:
    """Print what happens in the run until it ends. Returns its exit code, or None when the user left.

    `every`: print each Nth step where output is no terminal. `skip`: how many events were seen before.
    `last`: of the steps before now, print so many lines (0: all) and sum up those before them.
    `as_json`: print the lines of the file instead, before now the `last` ones.
    """
    history = History()
    every = max(1, every)
    printer = None if as_json else Abridged(_printer(history, every), lines_before(run, every, last), every)
    reader = EventReader(run.events_file)
    left_out = max(0, _count_objects(run) - last) if as_json and last else 0
    seen, gone_since = 0, None
    try:
        while True:
            running = run.is_running()  # asked before reading, so that nothing written before the end is missed
            lines = reader.read_lines()
            if as_json:
                left_out = _print_objects(lines, left_out)
            for event in reader.events_of(lines):
                history.apply(event)
                seen += 1
                if printer is not None and seen > skip:
                    printer.show(event)
            if not running and not _works_elsewhere(history):
                if history.ended is not None and seen > skip:
                    return history.ended.exit_code
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > GRACE_SECONDS:
                    break
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return None
    finally:
        if printer is not None:
            printer.close()
    gone = "has not started yet" if history.started is None else "exited unexpectedly"
    why = f". Why: nanosolo logs {run.name}" if run.log_file.exists() else ""
    print(f"the runner of {run.name} {gone}. Resume with: nanosolo resume {run.name}{why}", file=sys.stderr)
    return EXIT_CRASHED


def _works_elsewhere(history: History) -> bool:
    """Whether another machine, which shares the home with this one, has written to the run a moment ago."""
    if history.started is None or history.last_time is None or history.ended is not None:
        return False
    return history.started.host != socket.gethostname() and time.time() - history.last_time < ELSEWHERE_SECONDS


def _printer(history: History, every: int) -> Printer:
    return LivePrinter(history) if sys.stdout.isatty() else LinePrinter(history, every)


def _objects(lines: bytes) -> Iterator[bytes]:
    """Each line verbatim, including unknown kinds of events; damaged lines are left out."""
    for line in lines.split(b"\n"):
        try:
            _object.decode(line)
        except kinds.NOT_JSON:
            continue
        yield line


def _count_objects(run: RunDirectory) -> int:
    reader, count = EventReader(run.events_file), 0
    while reader.unread() and (lines := reader.read_lines()):
        count += sum(1 for _ in _objects(lines))
    return count


def _print_objects(lines: bytes, left_out: int) -> int:
    """Print them but for the first `left_out`. Returns how many are still to be left out."""
    for line in _objects(lines):
        if left_out:
            left_out -= 1
        else:
            sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()
    return left_out


class LinePrinter:
    """Lines for a file or a pipe: every Nth step, ten lines of progress a stage, and all that matters."""

    def __init__(self, history: History, every: int) -> None:
        self._history = history
        self._every = every
        self._share = -1

    def show(self, event: AnyEvent) -> None:
        match event:
            case kinds.Step():
                if has_line(event, self._every):
                    place = f"step {event.step:>{len(f'{event.steps:,}')},}/{event.steps:,}"
                    self.say(event.t, "  ".join([place, *step_figures(event, self._history)]))
            case kinds.Progress():
                share = PROGRESS_SHARES * event.done // event.total if event.total else self._share
                if share != self._share:
                    self._share = share
                    self.say(event.t, progress_words(self._history, event))
            case _:
                if isinstance(event, kinds.StageStarted):
                    self._share = -1
                for line in event_lines(event, self._history):
                    self.say(event.t, line)

    def close(self) -> None:
        pass

    def say(self, t: float, line: str) -> None:
        print(f"{_clock(t)}  {line}", flush=True)


def _clock(t: float) -> str:
    """The time of day here; of a damaged line, which may hold any number, none."""
    try:
        return f"{datetime.fromtimestamp(t):%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "--:--:--"


class LivePrinter:
    """A line that moves at the foot of a terminal, and lines above it."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._stage = ""
        self._share: float | None = None
        self._figures: list[str] = []
        self._console = Console()
        self._live = Live(console=self._console, get_renderable=self._line, refresh_per_second=4)
        self._live.start()

    def show(self, event: AnyEvent) -> None:
        match event:
            case kinds.Step():
                figures = [f"{event.step:,}/{event.steps:,}", *step_figures(event, self._history)]
                self._move(event.stage, event.step, event.steps, figures)
            case kinds.Progress():
                self._move(event.stage, event.done, event.total, [progress_words(self._history, event)])
            case kinds.StageStarted():
                self._move(event.stage, 0, 0, ["started"])
            case _:
                if isinstance(event, kinds.StageEnded | kinds.RunEnded):
                    self._move("", 0, 0, [])
                for line in event_lines(event, self._history):
                    self.say(event.t, line)

    def say(self, t: float, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _move(self, stage: str, done: int, total: int, figures: list[str]) -> None:
        self._stage, self._share, self._figures = stage, done / total if total else None, figures

    def _line(self) -> Text:
        width = self._console.width - 1  # some terminals wrap what ends in their last column
        return Text(progress_line(self._stage, self._share, self._figures, width), no_wrap=True, overflow="crop")


def step_figures(event: kinds.Step, history: History) -> list[str]:
    """Loss or reward, the time left, speed, MFU and memory, in the order of their weight."""
    reward = history.latest(REWARD) if event.stage == "rl" else None  # the loss of a policy says nothing
    if reward is not None:
        parts = [f"reward {reward.value:.4f}"]
    else:
        parts = [f"loss {'nan' if event.loss is None else f'{event.loss:.4f}'}"]
    left = remaining_seconds(history)
    if left is not None and event.step < event.steps:
        parts.append(f"{formatting.duration(left)} left")
    parts.append(formatting.rate(event.tokens_per_second))
    if event.mfu is not None:
        parts.append(f"MFU {formatting.percent(event.mfu)}")
    if event.peak_memory is not None:
        parts.append(formatting.size(event.peak_memory))
    return parts


def event_lines(event: AnyEvent, history: History) -> list[str]:
    """What is worth a line of its own; none for what happens every few seconds."""
    match event:
        case kinds.StageStarted():
            return [f"{event.stage}: started"]
        case kinds.StageEnded():
            tail = f": {event.message}" if event.message else ""
            return [f"{event.stage}: {event.outcome.replace('_', ' ')} after {_work_of(event, history)}{tail}"]
        case kinds.StagesAsked():
            return [f"asked for: {', '.join(event.stages)}"]
        case kinds.StageAnew():
            kept = f"; what it had is in {event.path}" if event.path else ""
            return [f"{event.stage}: restarts{kept}"]
        case kinds.Device():
            how = "compiled" if event.compiled else "not compiled"
            return [f"{event.stage}: on {event.name}, torch {event.torch}, {how}"]
        case kinds.Resumed():
            return [f"{event.stage}: resumes after step {event.step:,}"]
        case kinds.Evaluation(metric=metric) if metric == REWARD:
            return []  # the line of its step has it
        case kinds.Evaluation():
            # a score that came with others took no time of its own
            took = f", {formatting.duration(event.seconds)}" if event.seconds >= 0.0005 else ""
            return [f"step {event.step:,}  {event.metric} {event.value:.4f}  ({direction(event.metric)}{took})"]
        case kinds.Sample():
            # whether a word continues or a new one begins
            space = " " if event.text[:1].isspace() else ""
            text = one_line(space + " ".join(event.text.split()))
            return [f"step {event.step:,}  sample: {one_line(event.prompt)}|{text}"]
        case kinds.Checkpoint():
            took = f"{formatting.size(event.bytes)} in {formatting.duration(event.seconds)}"
            return [f"step {event.step:,}  checkpoint {event.path} ({took})"]
        case kinds.OutOfMemory():
            return [f"step {event.step:,}  out of memory in {event.phase}: {event.action}"]
        case kinds.Diverged():
            return [f"step {event.step:,}  diverged: {event.what}; {event.action}"]
        case kinds.Warning():
            return [f"step {event.step:,}  warning: {event.message}"]
        case kinds.Advice():
            return [f"advice: {event.message}"]
        case kinds.RunEnded():
            return [f"run {event.outcome.replace('_', ' ')}"]
    return []


def _work_of(event: kinds.StageEnded, history: History) -> str:
    """The run time of a stage, over all attempts that led to its result."""
    own = of_last_pass(history.attempts, event.stage)
    if len(own) < 2:
        return formatting.duration(event.seconds)
    return f"{formatting.duration(seconds_at_work(own, event.t))}, in {len(own)} attempts"
