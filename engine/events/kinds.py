"""The events of a run in events.jsonl: one tagged JSON object per line."""

import time
from typing import Annotated, Any, Literal

import msgspec

from engine.core.atomic_io import NOT_JSON

FORMAT_VERSION = 1
CONVERSATION = "conversation"  # the task of samples from a conversation that is not judged

Outcome = Literal[
    "done", "stopped", "out_of_memory", "out_of_host_memory", "diverged", "killed", "crashed", "refused"
]  # how a stage or a run ended

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
    outcome: str  # an Outcome; a newer version may write others
    exit_code: int
    message: str = ""


class StagesAsked(Event, frozen=True, kw_only=True, tag="stages_asked"):
    """These stages are requested, and nothing else runs until they are done. `anew`: the stages to restart, also others
    that are incomplete and built on their weights, with the folder that keeps the result of each ("": it has none)."""

    stages: tuple[str, ...]
    anew: dict[str, str]


class StageAnew(Event, frozen=True, kw_only=True, tag="stage_anew"):
    """The stage restarts: its earlier events belong to a result that was archived in `path`."""

    stage: str
    path: str


class StageStarted(Event, frozen=True, kw_only=True, tag="stage_started"):
    stage: str
    pid: Natural
    argv: tuple[str, ...]


class StageEnded(Event, frozen=True, kw_only=True, tag="stage_ended"):
    stage: str
    outcome: str  # an Outcome; a newer version may write others
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
    threads: Natural = 0  # of the CPU; 0: not noted, as before November 2026


class Resumed(Event, frozen=True, kw_only=True, tag="resumed"):
    """The stage continues after `step`; earlier events of later steps of the stage are void."""

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
    before: tuple[str, ...] = ()  # earlier turns of the conversation, user and assistant alternating


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
    """Something went wrong and the stage continues; the message says what happened and what follows."""

    stage: str
    step: Natural
    code: str  # checkpoint_failed, checkpoint_damaged, config_changed, spike, fixed_segments
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
    except NOT_JSON:
        return None


def decode_all(lines: bytes) -> list[AnyEvent] | None:
    """The events of whole lines, four times as fast as one by one; None where one of them is not known."""
    try:
        return _decoder.decode_lines(lines)
    except NOT_JSON:
        return None
