"""A model in a process of its own, as the console's event loop sees it: asked by lines, heard as events."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from engine.core.atomic_io import NOT_JSON
from engine.core.errors import one_line
from engine.inference.chat_settings import Settings
from engine.run.directory import RunDirectory
from engine.run.environment import torch_environment
from engine.serve import worker_protocol

WORKER = ("-m", "engine.serve.model_worker")
_LONGEST_LINE = 2**20  # bytes of one event
_LAST_WORDS = 2000  # bytes of what it printed that are kept


class WorkerExited(NamedTuple):
    """The process has ended: with an exit code, or a signal's number below 0; `message` is its last word."""

    code: int
    message: str


Tell = Callable[[worker_protocol.AnyEvent | WorkerExited], None]


class WorkerClient:
    """Starts `engine.serve.model_worker` for one checkpoint, and ends it. All methods belong to the event loop.

    `tell` is called with every event and last with WorkerExited, but not after `close`. The worker exits when its
    input ends, so it does not outlive a killed console.
    """

    def __init__(self, run: RunDirectory, stage: str, device: str, tell: Tell) -> None:
        self._command = (*WORKER, str(run.path), "--stage", stage, "--device", device)
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process that holds the model."""
        return self._process.pid if self._process is not None else None

    async def follow(self) -> None:
        """Start the process and hand out what it says, until it ends."""
        try:
            await self._follow()
        except OSError as error:  # no process can be had
            self._say(WorkerExited(1, f"the model's process could not be started: {error.strerror or error}"))

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
            start_new_session=True,  # the terminal's signals are the console's alone
        )
        if self._closed:
            self.kill()
        assert process.stdout is not None and process.stderr is not None
        last_words = asyncio.create_task(_last_line(process.stderr))
        message = ""
        while line := await _next_line(process.stdout):
            try:
                event = msgspec.json.decode(line, type=worker_protocol.AnyEvent)
            except NOT_JSON:
                continue  # a library's print: no event of ours
            if isinstance(event, worker_protocol.WorkerError) and event.id is None:
                message = event.message
            else:
                self._say(event)
        code = await process.wait()
        self._say(WorkerExited(code, message or await last_words))

    def ask(self, key: int, messages: list[dict[str, object]], settings: Settings) -> None:
        """Let an answer be written, for which `key` stands in its events."""
        self._write(worker_protocol.generate(key, messages, settings))

    def cancel(self, key: int) -> None:
        """End an answer; its Finished comes all the same."""
        self._write(worker_protocol.cancel(key))

    def kill(self) -> None:
        """End the process, which has nothing to save."""
        self._closed = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """End the process and wait until it is gone."""
        self.kill()
        if self._process is not None:
            await self._process.wait()

    def _write(self, line: bytes) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line)

    def _say(self, event: worker_protocol.AnyEvent | WorkerExited) -> None:
        if not self._closed:
            self._tell(event)


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    """The next line; empty at the end."""
    while True:
        try:
            return await stream.readline()
        except ValueError:  # longer than any event of ours: a library's print
            continue


async def _last_line(stream: asyncio.StreamReader) -> str:
    """Read all, so that the writer never waits; give the last line that says something."""
    end = b""
    while block := await stream.read(1 << 16):
        end = (end + block)[-_LAST_WORDS:]
    lines = [line for line in end.decode(errors="replace").splitlines() if line.strip()]
    return one_line(lines[-1].strip()) if lines else ""
