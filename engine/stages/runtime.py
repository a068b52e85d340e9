"""One stage of a run, in a process of its own: `python -m engine.stages.runtime RUN_DIR STAGE`."""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from engine.core.errors import (
    EXIT_CRASHED,
    EXIT_OUT_OF_HOST_MEMORY,
    EXIT_OUT_OF_MEMORY,
    EXIT_USAGE,
    NanosoloError,
    Stopped,
)
from engine.core.memory_errors import Memory, memory_that_ran_out
from engine.hardware.versions import this_code
from engine.run.directory import RunDirectory
from engine.run.stage_context import STAGE_SIGNALS, StageContext

# Imported by name, so that a stage loads only what it needs: downloading needs no torch.
STAGE_FUNCTIONS = {
    "data": "engine.stages.data:fetch",
    "tokenizer": "engine.stages.train_tokenizer:make_tokenizer",
    "tokenize": "engine.stages.tokenize:write_tokens",
    "pretrain": "engine.stages.pretrain:pretrain",
    "evaluate": "engine.stages.evaluate:evaluate",
    "midtrain": "engine.stages.finetune:finetune",
    "sft": "engine.stages.finetune:finetune",
    "rl": "engine.stages.rl:reinforce",
    "chat_eval": "engine.stages.chat_eval:chat_eval",
    "report": "engine.stages.report:write_report",
}


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
        module, _, name = STAGE_FUNCTIONS[stage].partition(":")
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
    if len(sys.argv) != 3 or sys.argv[2] not in STAGE_FUNCTIONS:
        print(f"usage: python -m engine.stages.runtime RUN_DIR {{{','.join(STAGE_FUNCTIONS)}}}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads of libraries must not hold up or change how a stage ends
