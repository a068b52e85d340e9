"""What happened, as it is written to events.jsonl: one tagged JSON object a line, append-only, read by everyone."""

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from engine.errors import NanosoloError
from engine.files import FULL_DISK, cannot_write

FORMAT_VERSION = 1
READ_BYTES = 2**20  # at a time: few events are alive at once, which spares the garbage collector
RETRY_SECONDS = 1.0
CONVERSATION = "conversation"  # the task of samples from a conversation that nobody judges
MOST_HELD_BYTES = 16 * 2**20  # of lines that a full disk does not take: some 40,000 steps

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**62)]  # what a damaged line holds must not overflow a column


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=False):
    """One thing that happened, at Unix time `t` in seconds."""

    v: int = FORMAT_VERSION
    t: float = msgspec.field(default_factory=time.time)


class RunStarted(Event, frozen=True, kw_only=True, tag="run_started"):
    name: str
    version: str
    host: str
    pid: Natural
    resumed: bool = False
    versions: dict[str, Any] = {}  # of what it runs with; see versions.py


class RunEnded(Event, frozen=True, kw_only=True, tag="run_ended"):
    outcome: str
    exit_code: int
    message: str = ""


class StagesAsked(Event, frozen=True, kw_only=True, tag="stages_asked"):
    """From here on these stages are wanted, and nothing else until they are done. `anew` says which stages, also others
    that are half done on the weights of these, are to begin anew, and where each keeps its result ("": it has none)."""

    stages: tuple[str, ...]
    anew: dict[str, str]


class StageAnew(Event, frozen=True, kw_only=True, tag="stage_anew"):
    """The stage begins from its beginning: what it told before this is of a result that was set aside in `path`."""

    stage: str
    path: str


class StageStarted(Event, frozen=True, kw_only=True, tag="stage_started"):
    stage: str
    pid: Natural
    argv: tuple[str, ...]


class StageEnded(Event, frozen=True, kw_only=True, tag="stage_ended"):
    stage: str
    outcome: str  # done, stopped, out_of_memory, out_of_host_memory, diverged, killed, crashed, refused
    seconds: float
    exit_code: int = 0
    peak_memory: Natural | None = None  # bytes: of the GPU where there is one, else of the process
    message: str = ""


class Progress(Event, frozen=True, kw_only=True, tag="progress"):
    stage: str
    done: Natural
    total: Natural
    unit: str


class Device(Event, frozen=True, kw_only=True, tag="device"):
    """What the stage runs on, and with which versions."""

    stage: str
    device: str
    name: str
    torch: str
    compiled: bool
    grad_accum_steps: Natural
    device_batch_size: Natural


class Resumed(Event, frozen=True, kw_only=True, tag="resumed"):
    """The stage goes on after `step`; steps of the same stage beyond it, written earlier, are void."""

    stage: str
    step: Natural
    path: str = ""


class Step(Event, frozen=True, kw_only=True, gc=False, tag="step"):
    stage: str
    step: Natural  # steps done, from 1
    steps: Natural
    tokens: Natural  # trained on so far
    loss: float | None  # mean nats per token of the whole step; null: not finite
    learning_rate_scale: float
    grad_norm: float | None
    step_seconds: float
    data_seconds: float
    tokens_per_second: float
    mfu: float | None
    peak_memory: Natural | None
    epoch: Natural = 0


class Evaluation(Event, frozen=True, kw_only=True, tag="evaluation"):
    stage: str
    step: Natural
    metric: str
    value: float
    seconds: float
    baseline: float | None = None  # of guessing, where the value is an accuracy
    examples: Natural | None = None  # that the value rests on


class Sample(Event, frozen=True, kw_only=True, tag="sample"):
    """What the model made of a prompt: a continuation, or its answer in a conversation."""

    stage: str
    step: Natural
    prompt: str
    text: str
    task: str = ""  # the metric, where the prompt is a problem; CONVERSATION; else empty
    right: bool | None = None  # where the answer was judged
    before: tuple[str, ...] = ()  # said earlier in the same conversation, user and assistant in turn


class Checkpoint(Event, frozen=True, kw_only=True, tag="checkpoint"):
    stage: str
    step: Natural
    path: str
    bytes: Natural
    seconds: float
    stall_seconds: float = 0.0  # of them, for which training stood still


class System(Event, frozen=True, kw_only=True, tag="system"):
    """The machine, in GiB, %, degrees, watts and MHz; `gpu` is null where NVML finds none."""

    gpu: dict[str, Any] | None
    host: dict[str, Any]


class Advice(Event, frozen=True, kw_only=True, tag="advice"):
    code: str
    message: str
    change: dict[str, Any]
    effect: str


class OutOfMemory(Event, frozen=True, kw_only=True, tag="out_of_memory"):
    stage: str
    step: Natural
    phase: str
    requested: Natural | None
    allocated: Natural | None
    capacity: Natural | None
    action: str


class Diverged(Event, frozen=True, kw_only=True, tag="diverged"):
    stage: str
    step: Natural
    what: str
    action: str
    epoch: Natural | None = None  # the step's data begins at this row of this epoch
    row: Natural | None = None


class Warning(Event, frozen=True, kw_only=True, tag="warning"):
    """Something went wrong and the stage goes on; the message says what and what follows."""

    stage: str
    step: Natural
    code: str  # checkpoint_failed, checkpoint_damaged, config_changed, spike
    message: str


AnyEvent = (
    RunStarted
    | RunEnded
    | StagesAsked
    | StageAnew
    | StageStarted
    | StageEnded
    | Progress
    | Device
    | Resumed
    | Step
    | Evaluation
    | Sample
    | Checkpoint
    | System
    | Advice
    | OutOfMemory
    | Diverged
    | Warning
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """One line, with its newline."""
    return _encoder.encode(event) + b"\n"


def decode(line: bytes) -> AnyEvent | None:
    """The event of one line; None for a line that is damaged or of a kind this version does not know."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class EventLog:
    """Appends events to a file. Several processes may hold one: each line is a single O_APPEND write.

    A full disk does not end a run: what it does not take is held back, and written with the next event that it takes.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NanosoloError(f"cannot write {path}: {error.strerror}. Free the disk or mend its rights.") from None
        self._path = path
        self._held: deque[bytes] = deque()  # lines that the disk has not taken yet
        self._held_bytes = 0
        self._lock = threading.RLock()  # a checkpoint's thread makes sure of the events before it

    def write(self, event: Event) -> None:
        """Append one event, after those that were held back. Raises NanosoloError when it can never be written."""
        line = encode(event)
        with self._lock:
            self._held.append(line)
            self._held_bytes += len(line)
            written = self.catch_up()
        if not written and self._held_bytes > MOST_HELD_BYTES:
            raise NanosoloError(f"cannot write {self._path}: the disk has been full for long. Free it, then resume.")

    def catch_up(self) -> bool:
        """Write what was held back, as far as the disk takes it. Returns whether nothing is left."""
        with self._lock:
            while self._held:
                if not self._append(self._held[0]):
                    return False
                self._held_bytes -= len(self._held.popleft())
        return True

    def sync(self) -> None:
        """Return when all events so far are on the disk, whatever becomes of the machine. Raises DiskFull."""
        with self._lock:
            if not self.catch_up():
                raise cannot_write(self._path, OSError(errno.ENOSPC, ""), self._held_bytes)
            os.fsync(self._fd)

    def _append(self, line: bytes) -> bool:
        """Write one line; False where the disk is full."""
        try:
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                line = b"\n" + line  # a writer died, or the disk ran full, within a line: the damage stays in that
            return os.write(self._fd, line) == len(line)
        except OSError as error:
            if error.errno in FULL_DISK:
                return False
            raise NanosoloError(f"cannot write {self._path}: {error.strerror}. Mend that, then resume.") from None

    def close(self, patience: float = 0.0) -> None:
        """Close the file, once nothing is held back or `patience` seconds have passed."""
        deadline = time.monotonic() + patience
        while not self.catch_up() and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
        os.close(self._fd)


class EventReader:
    """Reads a growing events.jsonl: each `read` gives the whole lines that came since the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0  # lines that were not a known event
        self.restarted = False  # whether the last read found the file shorter than before, or another file
        self._offset = 0
        self._inode: int | None = None
        self._rest = b""

    def read(self, limit: int = 64 * 2**20) -> list[AnyEvent]:
        """New events, oldest first; empty while the file is missing. At most about `limit` bytes a call."""
        self.restarted = False
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size < self._offset or self._inode not in (None, status.st_ino):
                    self._offset, self._rest, self.restarted = 0, b"", True
                self._inode = status.st_ino
                file.seek(self._offset)
                data = file.read(limit)
        except OSError:
            return []
        self._offset += len(data)
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._rest += data
            return []
        whole, self._rest = self._rest + whole, rest
        try:
            return _decoder.decode_lines(whole)  # four times as fast as line by line
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._decode_each(whole)

    def batches(self, limit: int) -> Iterator[list[AnyEvent]]:
        """All that came since the last read, about `limit` bytes at a time; a batch is empty where none of them is an
        event that is known."""
        while True:
            before = self._offset
            events = self.read(limit)
            if self._offset == before and not self.restarted:
                return
            yield events

    def skip_to(self, offset: int) -> None:
        """Go on with the first line that begins at or after `offset`."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, offset - 1))
                if offset > 0:
                    file.readline()
                self._offset, self._rest = file.tell(), b""
                self._inode = os.fstat(file.fileno()).st_ino
        except OSError:
            return

    def unread(self) -> int:
        """Bytes that the file holds beyond what was read; 0 while it is missing."""
        try:
            return max(0, self.path.stat().st_size - self._offset)
        except OSError:
            return 0

    def _decode_each(self, data: bytes) -> list[AnyEvent]:
        events = []
        for line in data.split(b"\n"):
            if not line.strip():
                continue
            event = decode(line)
            if event is None:
                self.damaged += 1
            else:
                events.append(event)
        return events


def read_events(path: Path) -> Iterator[AnyEvent]:
    """All whole, known events of a file, oldest first."""
    for batch in EventReader(path).batches(READ_BYTES):
        yield from batch
