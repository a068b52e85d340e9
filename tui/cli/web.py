"""Show the console in a browser, through textual-serve: only pages it served itself, from elsewhere only by token."""

import hashlib
import os
import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from engine.core.errors import EXIT_DONE, UsageError
from engine.serve.http_security import DEFAULT_PORT, SHORTEST_TOKEN, is_loopback, is_ours, is_token, listen

CONSOLE = (sys.executable, "-c", "from tui.app import run_console; raise SystemExit(run_console())")


def serve(
    host: str = "127.0.0.1", port: int | None = None, allow_remote: bool = False, token: str | None = None
) -> int:
    """Serve the console until interrupted. Returns the exit code.

    `port`: None means the first free one from the default up.

    Anyone who can open the page controls training on this machine. An address that others can reach therefore needs
    `allow_remote`, and then every request needs the token: the given one, or one that is generated and printed. On
    loopback a token is required only if one is given.

    Raises UsageError for a remote address without `allow_remote`, a short token, an address or port that cannot be
    used, and when textual-serve is not installed.
    """
    if not is_loopback(host) and not allow_remote:
        raise UsageError(
            f"--host {host} can be reached by others, who could command this machine's training. "
            f"Stay on 127.0.0.1 and tunnel: {tunnel(port or DEFAULT_PORT)}; or add --allow-remote, which needs a token"
        )
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise UsageError(
            f"--token has {len(token)} characters, it needs {SHORTEST_TOKEN}. Leave it out, and one is made"
        )
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError:
        raise UsageError(
            f"the browser console needs textual-serve. Install it: {sys.executable} -m pip install textual-serve."
        ) from None
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)

    listening = listen(host, port)
    port = int(listening.getsockname()[1])

    class Guarded(Server):  # type: ignore[misc, unused-ignore]
        async def on_startup(self, app: Any) -> None:
            """Without the library's own banner."""

        async def _make_app(self) -> Any:
            app = await super()._make_app()
            app.middlewares.append(guard)
            return app

        async def handle_index(self, request: Any) -> Any:
            # the page's own links must go where the browser came from: a tunnel, or a name for 0.0.0.0
            self.public_url = f"http://{request.host}"
            return await super().handle_index(request)

    guard = _guard(host, port, token)
    print("\n".join(_welcome(host, port, token)), flush=True)
    server = Guarded(shlex.join(CONSOLE), host=host, port=port, title="nanosolo")
    web.run_app(server._make_app(), sock=listening, print=None)
    return EXIT_DONE


def _welcome(host: str, port: int, token: str | None) -> list[str]:
    """Where the console is, and how to reach it from elsewhere."""
    query = f"/?token={quote(token, safe='')}" if token else ""
    if is_loopback(host):
        return [
            f"The console is at http://{_bracketed(host)}:{port}{query}  (Ctrl-C ends the server; training continues)",
            f"From your own machine: {tunnel(port)}  then open http://localhost:{port}{query}",
        ]
    everywhere = host.strip("[]") in ("0.0.0.0", "::")
    name = os.uname().nodename if everywhere else _bracketed(host)
    return [
        f"The console is at http://{name}:{port}{query}  (Ctrl-C ends the server; training continues)",
        "Keep that address to yourself: the token lets anyone in. What is sent is not encrypted; a tunnel is:",
        f"  {tunnel(port)}",
    ]


def tunnel(port: int) -> str:
    """The ssh command that brings the port to the user's machine."""
    user = os.environ.get("USER") or "USER"
    name = os.uname().nodename
    return f"ssh -L {port}:localhost:{port} {user}@{name}"


def _guard(host: str, port: int, token: str | None) -> Any:
    from aiohttp import web

    cookie = f"nanosolo-{port}"  # browsers keep cookies by host name alone, and two servers may share one
    key = hashlib.sha256((token or "").encode()).hexdigest()  # in the cookie: plain letters, whatever the token

    @web.middleware
    async def guard(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        if not is_ours(request.headers, host):
            return web.Response(status=403, text="Open the console by the address that nanosolo serve printed.")
        if token is None or is_token(request.cookies.get(cookie), key):
            return await handler(request)
        if request.path == "/" and is_token(request.query.get("token"), token):
            # from here on the cookie tells, so that the token leaves the address bar and the browser's history
            answer = web.Response(status=303, headers={"Location": "/", "Referrer-Policy": "no-referrer"})
            answer.set_cookie(cookie, key, httponly=True, samesite="Lax")
            return answer
        return web.Response(status=401, text="This console needs its token: open the whole address that was printed.")

    return guard


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
