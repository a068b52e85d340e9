"""Client for a model in a separate process: writes requests as lines, receives events."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from engine.core.atomic_io import NOT_JSON
from engine.core.sanitize import one_line
from engine.inference.chat_settings import Settings
from engine.run.directory import RunDirectory
from engine.run.environment import torch_environment
from engine.serve import worker_protocol

WORKER = ("-m", "engine.serve.model_worker")
_LONGEST_LINE = 2**20  # bytes per event
_STDERR_TAIL = 2000  # bytes of its stderr that are kept


class WorkerExited(NamedTuple):
    """The process has exited. `code`: exit code, or negative signal number; `message`: its error or last line."""

    code: int
    message: str


Notify = Callable[[worker_protocol.AnyEvent | WorkerExited], None]


class WorkerClient:
    """Starts `engine.serve.model_worker` for one checkpoint and ends it. Call all methods from the event loop.

    `notify` is called with every event and last with WorkerExited, but not after `close`. The worker exits when its
    input ends, so it does not outlive a killed console.
    """

    def __init__(self, run: RunDirectory, stage: str, device: str, notify: Notify) -> None:
        self._command = (*WORKER, str(run.path), "--stage", stage, "--device", device)
        self._notify = notify
        self._process: asyncio.subprocess.Process | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process that holds the model."""
        return self._process.pid if self._process is not None else None

    async def follow(self) -> None:
        """Start the process and pass on its events until it exits."""
        try:
            await self._follow()
        except OSError as error:  # the process could not be created
            self._emit(WorkerExited(1, f"the model process could not be started: {error.strerror or error}"))

    async def _follow(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=_LONGEST_LINE,
            env=torch_environment(),
            start_new_session=True,  # signals of the terminal are for the console only
        )
        if self._closed:
            self.kill()
        assert process.stdout is not None and process.stderr is not None
        stderr_tail = asyncio.create_task(_last_line(process.stderr))
        message = ""
        while line := await _next_line(process.stdout):
            try:
                event = msgspec.json.decode(line, type=worker_protocol.AnyEvent)
            except NOT_JSON:
                continue  # printed by a library
            if isinstance(event, worker_protocol.WorkerError) and event.id is None:
                message = event.message
            else:
                self._emit(event)
        code = await process.wait()
        self._emit(WorkerExited(code, message or await stderr_tail))

    def ask(self, key: int, messages: list[dict[str, object]], settings: Settings) -> None:
        """Request an answer. Its events carry `key`."""
        self._write(worker_protocol.generate(key, messages, settings))

    def cancel(self, key: int) -> None:
        """Cancel an answer. Its Finished event still follows."""
        self._write(worker_protocol.cancel(key))

    def kill(self) -> None:
        """Kill the process. It has nothing to save."""
        self._closed = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Kill the process and wait for its exit."""
        self.kill()
        if self._process is not None:
            await self._process.wait()

    def _write(self, line: bytes) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line)

    def _emit(self, event: worker_protocol.AnyEvent | WorkerExited) -> None:
        if not self._closed:
            self._notify(event)


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    """The next line; empty at the end."""
    while True:
        try:
            return await stream.readline()
        except ValueError:  # longer than any event, so printed by a library
            continue


async def _last_line(stream: asyncio.StreamReader) -> str:
    """Read to the end, so that the writer never blocks, and return the last line that is not blank."""
    end = b""
    while block := await stream.read(1 << 16):
        end = (end + block)[-_STDERR_TAIL:]
    lines = [line for line in end.decode(errors="replace").splitlines() if line.strip()]
    return one_line(lines[-1].strip()) if lines else ""
