"""Show the console in a browser, through textual-serve: this machine only, and only pages that it served itself."""

import ipaddress
import os
import shlex
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from engine.errors import EXIT_DONE, UsageError

CONSOLE = (sys.executable, "-c", "from tui.app import run_console; raise SystemExit(run_console())")


def serve(host: str = "127.0.0.1", port: int = 8000, allow_remote: bool = False) -> int:
    """Serve the console until interrupted. Returns the exit code.

    Raises UsageError when textual-serve is not installed, or when `host` is reachable from elsewhere without
    `allow_remote`: whoever reaches the page commands this machine's training, and there is no password.
    """
    if not is_loopback(host) and not allow_remote:
        raise UsageError(
            f"--host {host}: anyone who reaches that address could use the console, there is no password. "
            f"Stay on 127.0.0.1 and tunnel: {tunnel(port)}"
        )
    try:
        from textual_serve.server import Server
    except ImportError:
        raise UsageError(
            "the browser console needs textual-serve. Install it with: pip install 'nanosolo[serve]'"
        ) from None

    class Guarded(Server):  # type: ignore[misc, unused-ignore]
        async def on_startup(self, app: Any) -> None:
            """Without the library's own banner."""

        async def _make_app(self) -> Any:
            app = await super()._make_app()
            app.middlewares.append(_guard(host))
            return app

    print(f"The console is at http://{_bracketed(host)}:{port}  (Ctrl-C ends the server; training goes on)")
    if is_loopback(host):
        print(f"From your own machine: {tunnel(port)}  then open http://localhost:{port}")
    Guarded(shlex.join(CONSOLE), host=host, port=port, title="nanosolo").serve()
    return EXIT_DONE


def tunnel(port: int) -> str:
    """The ssh command that brings the port to the user's machine."""
    user = os.environ.get("USER") or "USER"
    name = os.uname().nodename
    return f"ssh -L {port}:localhost:{port} {user}@{name}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_ours(headers: Any, host: str) -> bool:
    """Whether a request is for this server and from its own page: no other site's script, no borrowed host name."""
    asked = str(headers.get("Host", ""))
    name = urlsplit(f"//{asked}").hostname or ""
    if is_loopback(host) and not is_loopback(name):
        return False  # a foreign name that resolves to this machine
    origin = headers.get("Origin")
    if origin is None:
        return True
    page = urlsplit(origin)
    # localhost and 127.0.0.1 are one place: the page may be opened by either, through a tunnel as well
    same = page.hostname == name or (is_loopback(page.hostname or "") and is_loopback(name))
    return same and page.port == urlsplit(f"//{asked}").port


def _guard(host: str) -> Any:
    from aiohttp import web

    @web.middleware
    async def guard(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        if not is_ours(request.headers, host):
            return web.Response(status=403, text="Open the console by the address that nanosolo serve printed.")
        return await handler(request)

    return guard


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
