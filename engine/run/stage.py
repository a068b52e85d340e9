"""One stage of a run, in a process of its own: `python -m engine.run.stage RUN_DIR STAGE`."""

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from engine.errors import (
    EXIT_CRASHED,
    EXIT_OUT_OF_HOST_MEMORY,
    EXIT_OUT_OF_MEMORY,
    EXIT_USAGE,
    NanosoloError,
    Stopped,
)
from engine.plan.config import RunConfig
from engine.run.directory import RunDirectory
from engine.run.event_log import EventLog
from engine.run.events import Event, Progress
from engine.run.memory_errors import Memory, memory_that_ran_out
from engine.run.versions import this_code

PROGRESS_SECONDS = 0.5
LAST_WORD_SECONDS = 10.0  # how long the end of a stage waits for a full disk
STAGE_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1}  # what a runner may pass on

# Imported by name, so that a stage loads only what it needs: downloading needs no torch.
STAGES = {
    "data": "engine.data.stages:fetch",
    "tokenizer": "engine.data.stages:train_the_tokenizer",
    "tokenize": "engine.data.stages:write_tokens",
    "pretrain": "engine.train.pretrain:pretrain",
    "evaluate": "engine.evaluate.stage:evaluate",
    "midtrain": "engine.chat.finetune:finetune",
    "sft": "engine.chat.finetune:finetune",
    "rl": "engine.chat.reinforce:reinforce",
    "chat_eval": "engine.evaluate.chat.stage:chat_eval",
    "report": "engine.report.write:write_report",
}


class StageContext:
    """What a stage is given: its run, its configuration, and ways to tell what happens."""

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
        self._log.close(patience=LAST_WORD_SECONDS)

    def emit(self, event: Event) -> None:
        """Append an event to the run."""
        self._log.write(event)

    def sync(self) -> None:
        """Return when all events are on the disk. Raises NanosoloError when they cannot be."""
        self._log.sync()

    def progress(self, done: int, total: int, unit: str) -> None:
        """Say how far the stage is, at most twice a second and always at the end."""
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


def _report_exhausted(memory: Memory, error: Exception) -> int:
    """Say, as the last line of the log, that memory ran out where there is no smaller way. Returns the exit code."""
    first = (str(error).splitlines() or [""])[0]
    detail = f": {first}" if first else ""
    if memory == "host":
        way = "End other programs, or use a machine with more memory, then resume."
        print(f"error: out of host memory{detail}. {way}", file=sys.stderr)
        return EXIT_OUT_OF_HOST_MEMORY
    print(f"error: out of memory{detail}. Close other programs on the GPU, then resume.", file=sys.stderr)
    return EXIT_OUT_OF_MEMORY


def main(arguments: list[str]) -> int:
    """Run one stage. Returns its exit code; errors that the user can act on are one line on standard error."""
    try:
        return _run(arguments)
    except Stopped as again:  # a second signal, while the stage ended for the first
        return again.exit_code


def _run(arguments: list[str]) -> int:
    folder, stage = Path(arguments[0]), arguments[1]
    context = None
    try:
        context = StageContext(RunDirectory(folder), stage)
        this_code()  # now: the checkout may change while the stage runs
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, context.on_stop)
        signal.signal(signal.SIGUSR1, context.on_checkpoint)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STAGE_SIGNALS)  # the runner held them back until now
        module, _, name = STAGES[stage].partition(":")
        work: Callable[[StageContext], None] = getattr(importlib.import_module(module), name)
        work(context)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except NanosoloError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        memory = memory_that_ran_out(error)
        return EXIT_CRASHED if memory is None else _report_exhausted(memory, error)
    finally:
        if context is not None:
            context.stops_at_boundary = True  # it is over: a signal changes nothing any more
            context.close()
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in STAGES:
        print(f"usage: python -m engine.run.stage RUN_DIR {{{','.join(STAGES)}}}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads of libraries must not hold up or change how a stage ends
