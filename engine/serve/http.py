"""Serves a model over HTTP: OpenAI's chat API and a chat page. Access from other machines needs a token."""

import asyncio
import base64
import hashlib
import re
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.errors import EXIT_DONE, UsageError
from engine.data.chat.conversation import Part
from engine.inference.batching import Batcher, Busy, Failed
from engine.inference.chat_settings import Settings
from engine.inference.detokenizer import Piece
from engine.inference.engine import ChatEngine, Finish
from engine.serve.http_security import SHORTEST_TOKEN, is_loopback, is_ours, is_token, listen
from engine.serve.openai_api import MAX_BODY, ChatRequest, Refused, Writer, generation_request, models, read_request

if TYPE_CHECKING:
    from aiohttp import web

Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]

_PAGE = Path(__file__).with_name("page.html")


def check_exposure(host: str, token: str | None) -> None:
    """Raises UsageError for a public address without a token, and for a token that is too short."""
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise UsageError(f"--token has {len(token)} characters. Use at least {SHORTEST_TOKEN}.")
    if token is None and not is_loopback(host):
        raise UsageError(
            f"--host {host} is reachable from other machines and needs a token. Add --token with at least "
            f"{SHORTEST_TOKEN} characters, or use 127.0.0.1 and a tunnel (ssh -L)."
        )


def require_aiohttp() -> None:
    """Raises UsageError if aiohttp (the extra `serve`) cannot be imported."""
    try:
        import aiohttp  # noqa: F401
    except ImportError:
        raise UsageError(f"--serve needs aiohttp. Install it: {sys.executable} -m pip install aiohttp.") from None


def serve(engine: ChatEngine, host: str, port: int | None, token: str | None, settings: Settings) -> int:
    """Serve until interrupted. Returns the exit code. `port`: None means the first free port from the default up.

    Raises UsageError for an address that cannot be used.
    """
    require_aiohttp()
    from aiohttp import web

    check_exposure(host, token)
    listening = listen(host, port)
    bare = host.strip("[]")
    shown = f"[{bare}]" if ":" in bare else bare
    address = f"http://{shown}:{listening.getsockname()[1]}"
    print(f"{engine.name} ({engine.stage}, step {engine.step:,}): chat at {address}/", flush=True)
    print(f"OpenAI API: base_url={address}/v1, model={engine.name}  (Ctrl-C stops the server)", flush=True)
    batcher = Batcher(engine)
    try:
        app = ChatServer(engine, batcher, settings, host, token).app()
        web.run_app(app, sock=listening, print=None, access_log=None, handler_cancellation=True)
    finally:
        batcher.close()
    return EXIT_DONE


class ChatServer:
    """The routes of one model."""

    def __init__(self, engine: ChatEngine, batcher: Batcher, settings: Settings, host: str, token: str | None) -> None:
        self._engine = engine
        self._batcher = batcher
        self._settings = settings
        self._host = host
        self._token = token
        self._started = time.time()
        self._page = _PAGE.read_text(encoding="utf-8")

    def app(self) -> "web.Application":
        """The application, ready to run."""
        from aiohttp import web

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guarded(request, handler)

        app = web.Application(client_max_size=MAX_BODY, middlewares=[guard])
        app.router.add_get("/", self._show_page)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _guarded(self, request: "web.Request", handler: "Handler") -> "web.StreamResponse":
        """Check the origin and the token (not needed for the page and /healthz); turn errors into JSON."""
        from aiohttp import web

        try:
            if not is_ours(request.headers, self._host):
                raise Refused(403, "requests from other sites or host names are not allowed")
            if self._token is not None and request.path.startswith("/v1/"):
                scheme, _, given = request.headers.get("Authorization", "").partition(" ")
                if scheme.lower() != "bearer" or not is_token(given.strip(), self._token):
                    raise Refused(401, "the token is missing or wrong. Send it as the API key", code="invalid_api_key")
            return await handler(request)
        except Refused as refused:
            return _json(refused.body(), refused.status)
        except Busy as busy:
            return _json(Refused(429, str(busy), code="rate_limit_exceeded").body(), 429)
        except web.HTTPRequestEntityTooLarge:
            return _json(Refused(413, f"the request is larger than {MAX_BODY:,} bytes").body(), 413)
        except web.HTTPException as error:  # no such path, another method
            return _json(
                Refused(error.status, f"{request.method} {request.path:.80}: {error.reason}").body(), error.status
            )

    async def _show_page(self, _request: "web.Request") -> "web.Response":
        from aiohttp import web

        # allow only the page's own script, style and server
        policy = "; ".join(
            (
                "default-src 'none'",
                f"script-src {_hashes(self._page, 'script')}",
                f"style-src {_hashes(self._page, 'style')}",
                "connect-src 'self'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    async def _health(self, _request: "web.Request") -> "web.Response":
        return _json(b'{"status": "ok"}')

    async def _models(self, _request: "web.Request") -> "web.Response":
        from aiohttp import web

        return web.json_response(models(self._engine, self._settings, self._started))

    async def _chat(self, request: "web.Request") -> "web.StreamResponse":
        if request.content_type != "application/json":  # forms of other sites cannot send this type
            raise Refused(415, "expected Content-Type: application/json")
        asked = read_request(await request.read(), self._engine.name)
        # in a thread, as long texts take time to encode
        generation = await asyncio.to_thread(generation_request, asked, self._engine, self._settings)
        loop = asyncio.get_running_loop()
        answer: asyncio.Queue[Piece | Finish | Failed] = asyncio.Queue()
        self._batcher.submit(generation, lambda item: _hand_over(loop, answer, item))
        try:
            writer = Writer(uuid.uuid4().hex, self._engine.name)
            return await (_stream(request, asked, writer, answer) if asked.stream else _whole(writer, answer))
        finally:
            self._batcher.cancel(generation)  # also after the client disconnects


async def _whole(writer: Writer, answer: "asyncio.Queue[Piece | Finish | Failed]") -> "web.Response":
    text, parts = "", list[Part]()
    while True:
        item = await answer.get()
        match item:
            case Failed(message):
                raise Refused(500, f"the answer failed: {message}")
            case Finish():
                return _json(writer.whole(text, parts, item))
            case Piece(kind, more):
                text += more if kind == "text" else ""
                if parts and parts[-1].type == kind:
                    parts[-1] = Part(kind, parts[-1].text + more)
                else:
                    parts.append(Part(kind, more))


async def _stream(
    request: "web.Request", asked: ChatRequest, writer: Writer, answer: "asyncio.Queue[Piece | Finish | Failed]"
) -> "web.StreamResponse":
    from aiohttp import web

    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    await response.write(writer.begin())
    while True:
        item = await answer.get()
        match item:
            case Failed(message):
                refused = Refused(500, f"the answer failed: {message}")
                await response.write(b"data: " + refused.body() + b"\n\n")
                break
            case Finish():
                usage = asked.stream_options is not None and asked.stream_options.include_usage
                await response.write(writer.end(item, usage))
                break
            case Piece():
                await response.write(writer.piece(item))
    await response.write_eof()
    return response


def _hand_over(loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[Any]", item: Any) -> None:
    """Pass an item from the decoding thread to the event loop, which may be closed."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(queue.put_nowait, item)


def _json(body: bytes, status: int = 200) -> "web.Response":
    from aiohttp import web

    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def _hashes(page: str, tag: str) -> str:
    """The Content-Security-Policy sources of the page's inline <tag> elements."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
