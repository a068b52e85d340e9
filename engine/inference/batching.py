"""Many answers at the same time from one model: a thread that decodes them together and hands out what is new."""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.core.errors import NanosoloError
from engine.inference.decoder import Decoder, End
from engine.inference.detokenizer import AnswerReader, Piece
from engine.inference.engine import ChatEngine, Finish
from engine.inference.sampling_params import Sampling

ROWS = 8  # answers that are written at the same time
_MOST = 64  # answers that are written or wait for it


class Busy(NanosoloError):
    """So many wait already that another would wait too long."""


class Failed(NamedTuple):
    """An answer that will not be finished."""

    message: str


Deliver = Callable[[Piece | Finish | Failed], None]


class GenerationRequest:
    """One answer that is wanted. `deliver` is called on the decoding thread, last with Finish or Failed."""

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
        self.truncated = truncated  # earlier messages that are not in the prompt
        self.written = 0  # new tokens so far


class _Writing:
    """A request in progress."""

    def __init__(self, request: GenerationRequest, reader: AnswerReader, deliver: Deliver) -> None:
        self.request = request
        self.reader = reader
        self.deliver = deliver


class Batcher:
    """Takes requests from any thread until `close`."""

    def __init__(self, engine: ChatEngine, rows: int = ROWS) -> None:
        self._engine = engine
        # here, so that a cache for which there is no memory fails at once and not in the thread
        self._decoder = Decoder(engine.model, engine.context, rows, keeps_prefix=True)
        self._changed = threading.Condition()
        self._new: list[_Writing] = []
        self._cancelled: set[GenerationRequest] = set()
        self._count = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="decoder", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, deliver: Deliver) -> None:
        """Let an answer be written. Raises Busy."""
        with self._changed:
            if self._count >= _MOST:
                raise Busy(f"{_MOST} answers are being written or wait already. Try again in a while.")
            self._count += 1
            self._new.append(_Writing(request, AnswerReader(self._engine.tokenizer, request.stops), deliver))
            self._changed.notify()

    def cancel(self, request: GenerationRequest) -> None:
        """Stop writing an answer; nothing more of it is delivered. Without effect where it has ended."""
        with self._changed:
            self._cancelled.add(request)
            self._changed.notify()

    def close(self) -> None:
        """Stop writing and wait for the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        writing: dict[GenerationRequest, _Writing] = {}
        decoder = self._decoder
        while self._take(decoder, writing):
            try:
                tokens = decoder.step()
            except Exception as error:  # mostly out of memory: these answers are lost, the server continues
                for one in writing.values():
                    one.deliver(Failed(f"{type(error).__name__}: {error}".splitlines()[0]))
                self._done(len(writing))
                writing.clear()
                decoder.clear()
                continue
            for token in tokens:
                one = writing[token.key]  # type: ignore[index]  # our keys are requests
                one.request.written += 1
                pieces = [] if token.end == "stop" else one.reader.read(token.id)
                if token.end:
                    pieces += one.reader.finish()
                for piece in pieces:
                    one.deliver(piece)
                if token.end or one.reader.stopped:
                    end: End = "stop" if one.reader.stopped else token.end or "length"
                    one.deliver(Finish(end, len(one.request.prompt), one.request.written))
                    decoder.cancel(one.request)
                    del writing[one.request]
                    self._done(1)

    def _take(self, decoder: Decoder, writing: dict[GenerationRequest, _Writing]) -> bool:
        """Let new requests join and cancelled ones leave; wait while there is nothing to do. False when closed."""
        with self._changed:
            while not (self._closed or self._new or self._cancelled or writing):
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
            writing[request] = one
        for request in cancelled & writing.keys():
            decoder.cancel(request)
            del writing[request]
            self._done(1)
        return not closed

    def _done(self, count: int) -> None:
        with self._changed:
            self._count -= count
