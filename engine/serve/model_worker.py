"""Runs a model in its own process, for programs without torch: `python -m engine.serve.model_worker RUN`.

One JSON object per line in both directions. The worker loads RUN's model and writes {"event": "loaded", ...}. Then it
reads {"op": "generate", "id", "messages", ...} (the fields of OpenAI's chat API) and {"op": "cancel", "id"}. It answers
with {"event": "piece", "id", "type", "text"} and last, for each id, with {"event": "finish", "id", "end", ...} or
{"event": "error", "id", "message"}. A canceled answer has "end": "cancelled". Answers are generated concurrently.
engine.serve.worker_protocol lists all fields. The worker exits at the end of its input.
"""

import argparse
import os
import sys
import threading
import time

import msgspec

from engine.config.stages import MODEL_STAGES
from engine.core.errors import EXIT_CRASHED, EXIT_DONE, NanosoloError
from engine.inference.batching import Batcher, Busy, Failed, GenerationRequest
from engine.inference.chat_settings import Settings
from engine.inference.detokenizer import Piece
from engine.inference.engine import ChatEngine, Finish, load_engine
from engine.run.directory import find_run
from engine.serve.openai_api import ChatRequest, Refused, check_request, generation_request
from engine.serve.worker_protocol import Delta, Event, Finished, Id, Loaded, WorkerError


class Generate(ChatRequest, frozen=True, kw_only=True, tag_field="op", tag="generate"):
    """Generate an answer."""

    id: Id


class Cancel(msgspec.Struct, frozen=True, tag_field="op", tag="cancel"):
    """Cancel an answer."""

    id: Id


class _Answer:
    """An answer in progress."""

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.began = time.perf_counter()
        self.first: float | None = None


class Worker:
    """Reads operations, writes events."""

    def __init__(self, engine: ChatEngine) -> None:
        self._engine = engine
        self._batcher = Batcher(engine)
        self._active: dict[Id, _Answer] = {}
        self._lock = threading.Lock()

    def do(self, line: bytes) -> None:
        """Carry out the operation of one line. Errors become events."""
        try:
            operation = msgspec.json.decode(line, type=Generate | Cancel)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._error(None, f"not an operation: {error}")
            return
        if isinstance(operation, Cancel):
            self._cancel(operation.id)
        else:
            self._generate(operation)

    def _generate(self, operation: Generate) -> None:
        try:
            if operation.id in self._active:
                raise Refused(400, f"id {operation.id} is already in use. Choose another id")
            check_request(operation, self._engine.name)
            request = generation_request(operation, self._engine, Settings())
        except Refused as refused:
            self._error(operation.id, str(refused))
            return
        with self._lock:
            answer = self._active[operation.id] = _Answer(request)
        try:
            self._batcher.submit(request, lambda item: self._deliver(operation.id, answer, item))
        except Busy as busy:
            self._deliver(operation.id, answer, Failed(str(busy)))

    def _deliver(self, key: Id, answer: _Answer, item: Piece | Finish | Failed) -> None:
        with self._lock:
            if self._active.get(key) is not answer:
                return  # canceled in the meantime
            if answer.first is None:
                answer.first = time.perf_counter() - answer.began
            if not isinstance(item, Piece):
                del self._active[key]
            match item:
                case Piece(kind, text):
                    send(Delta(id=key, type=kind, text=text))
                case Failed(message):
                    send(WorkerError(id=key, message=message))
                case Finish(end):
                    self._finish(key, answer, end)

    def _cancel(self, key: Id) -> None:
        with self._lock:
            answer = self._active.pop(key, None)
            if answer is not None:
                self._finish(key, answer, "cancelled")
        if answer is not None:
            self._batcher.cancel(answer.request)

    def _finish(self, key: Id, answer: _Answer, end: str) -> None:
        request = answer.request
        send(
            Finished(
                id=key,
                end=end,
                prompt_tokens=len(request.prompt),
                new_tokens=request.new_tokens,
                seconds=time.perf_counter() - answer.began,
                first_token_seconds=answer.first,
                truncated=request.truncated,
            )
        )

    def _error(self, key: Id | None, message: str) -> None:
        with self._lock:
            send(WorkerError(id=key, message=message))


def send(event: Event) -> None:
    """Write one event. Exits if the reader is gone."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(EXIT_DONE)


def main(arguments: list[str]) -> int:
    """Serve until the end of the input. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.serve.model_worker")
    parser.add_argument("run")
    parser.add_argument("--stage", choices=MODEL_STAGES)
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    options = parser.parse_args(arguments)
    try:
        engine = load_engine(find_run(options.run), options.stage, options.device)
    except NanosoloError as error:
        send(WorkerError(id=None, message=str(error)))
        return error.exit_code
    except (RuntimeError, MemoryError) as error:  # mostly out of memory, or a device failure
        send(WorkerError(id=None, message=f"{type(error).__name__}: {error}".splitlines()[0]))
        return EXIT_CRASHED
    send(
        Loaded(
            name=engine.name,
            stage=engine.stage,
            step=engine.step,
            chats=engine.chats,
            context=engine.context,
            parameters=engine.model.shape.params.total,
            device=engine.device,
            warning=engine.warning,
        )
    )
    worker = Worker(engine)
    for line in sys.stdin.buffer:
        if line.strip():
            worker.do(line)
    return EXIT_DONE


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # without waiting for answers in progress
