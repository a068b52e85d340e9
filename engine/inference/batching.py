"""Batched generation: one thread decodes many answers together and delivers new text as it comes."""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.core.errors import NanosoloError
from engine.inference.decoder import Decoder, End
from engine.inference.detokenizer import AnswerReader, Piece
from engine.inference.engine import ChatEngine, Finish
from engine.inference.sampling_params import Sampling

ROWS = 8  # answers decoded at the same time
_MAX_PENDING = 64  # answers being decoded or waiting


class Busy(NanosoloError):
    """Too many answers are waiting."""


class Failed(NamedTuple):
    """An answer that failed."""

    message: str


Deliver = Callable[[Piece | Finish | Failed], None]


class GenerationRequest:
    """A request for one answer. `deliver` is called on the decoding thread, last with Finish or Failed."""

    def __init__(
        self,
        prompt: Sequence[int],
        limit: int,
        sampling: Sampling,
        seed: int,
        stops: Sequence[str],
        truncated: int = 0,
    ) -> None:
        self.prompt = prompt
        self.limit = limit  # new tokens
        self.sampling = sampling
        self.seed = seed
        self.stops = stops
        self.truncated = truncated  # earlier messages left out of the prompt
        self.new_tokens = 0  # generated so far


class _Active:
    """A request in progress."""

    def __init__(self, request: GenerationRequest, reader: AnswerReader, deliver: Deliver) -> None:
        self.request = request
        self.reader = reader
        self.deliver = deliver


class Batcher:
    """Accepts requests from any thread until `close`."""

    def __init__(self, engine: ChatEngine, rows: int = ROWS) -> None:
        self._engine = engine
        # allocated here, so that a lack of memory fails at once and not in the thread
        self._decoder = Decoder(engine.model, engine.context, rows, keeps_prefix=True)
        self._changed = threading.Condition()
        self._new: list[_Active] = []
        self._cancelled: set[GenerationRequest] = set()
        self._count = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="decoder", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, deliver: Deliver) -> None:
        """Queue a request. Raises Busy."""
        with self._changed:
            if self._count >= _MAX_PENDING:
                raise Busy(f"{_MAX_PENDING} answers are in progress or waiting. Try again later.")
            self._count += 1
            self._new.append(_Active(request, AnswerReader(self._engine.tokenizer, request.stops), deliver))
            self._changed.notify()

    def cancel(self, request: GenerationRequest) -> None:
        """Cancel a request. Nothing more of it is delivered. No effect after its end."""
        with self._changed:
            self._cancelled.add(request)
            self._changed.notify()

    def close(self) -> None:
        """Stop decoding and wait for the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        active: dict[GenerationRequest, _Active] = {}
        decoder = self._decoder
        while self._take(decoder, active):
            try:
                tokens = decoder.step()
            except Exception as error:  # mostly out of memory: these answers fail, the server keeps running
                for one in active.values():
                    one.deliver(Failed(f"{type(error).__name__}: {error}".splitlines()[0]))
                self._done(len(active))
                active.clear()
                decoder.clear()
                continue
            for token in tokens:
                one = active[token.key]  # type: ignore[index]  # the keys are requests
                one.request.new_tokens += 1
                pieces = [] if token.end == "stop" else one.reader.read(token.id)
                if token.end:
                    pieces += one.reader.finish()
                for piece in pieces:
                    one.deliver(piece)
                if token.end or one.reader.stopped:
                    end: End = "stop" if one.reader.stopped else token.end or "length"
                    one.deliver(Finish(end, len(one.request.prompt), one.request.new_tokens))
                    decoder.cancel(one.request)
                    del active[one.request]
                    self._done(1)

    def _take(self, decoder: Decoder, active: dict[GenerationRequest, _Active]) -> bool:
        """Add new requests and remove canceled ones; wait while idle. Returns False when closed."""
        with self._changed:
            while not (self._closed or self._new or self._cancelled or active):
                self._changed.wait()
            new, self._new = self._new, []
            cancelled, self._cancelled = self._cancelled, set()
            closed = self._closed
        for one in new:
            request = one.request
            if request in cancelled:
                self._done(1)
                continue
            try:
                decoder.add(
                    self._engine.request(request, request.prompt, request.limit, request.sampling, request.seed)
                )
            except NanosoloError as error:
                one.deliver(Failed(str(error)))
                self._done(1)
                continue
            active[request] = one
        for request in cancelled & active.keys():
            decoder.cancel(request)
            del active[request]
            self._done(1)
        return not closed

    def _done(self, count: int) -> None:
        with self._changed:
            self._count -= count
