"""Where a server of ours listens, and who may reach it: addresses of this machine only, pages of our own, tokens."""

import errno
import hmac
import ipaddress
import socket
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from engine.core.errors import UsageError

SHORTEST_TOKEN = 16  # characters: nobody guesses that over a network
DEFAULT_PORT = 8000
PORTS_TRIED = 100  # from the default up: more servers than anybody runs on one host


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens at `host`, on the port that the user named, or (None) on the first free one from
    DEFAULT_PORT up. Raises UsageError for an address that cannot be used, and for a named port that is taken."""
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    first = DEFAULT_PORT if port is None else port
    for candidate in range(first, first + PORTS_TRIED if port is None else first + 1):
        try:
            listening = socket.create_server((bare, candidate), family=family)
        except OverflowError:
            raise UsageError(f"--port {candidate}: expected a port from 1 to 65535.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(
                    f"cannot serve at --host {host} --port {candidate}: {error}. Choose another."
                ) from None
            continue
        if port is None and candidate != DEFAULT_PORT:
            print(f"port {DEFAULT_PORT} is taken, so this is port {candidate}", file=sys.stderr)
        return listening
    if port is None:
        last = first + PORTS_TRIED - 1
        raise UsageError(f"all ports from {first} to {last} are taken on {host}. Name a free one with --port.")
    raise UsageError(
        f"--port {port} is taken on {host}: another program listens there. Name another, or leave --port out to take "
        f"the next free one from {DEFAULT_PORT} up. Which program it is: ss -ltnp"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_ours(headers: Mapping[str, str], host: str) -> bool:
    """Whether a request is for this server and from its own page: no other site's script, no borrowed host name."""
    asked = str(headers.get("Host", ""))
    try:
        server = urlsplit(f"//{asked}")
        name, port = server.hostname or "", server.port
        origin = headers.get("Origin")
        page = urlsplit(origin) if origin is not None else None
        page_name, page_port = (page.hostname or "", page.port) if page is not None else (name, port)
    except ValueError:  # an address that is none
        return False
    if is_loopback(host) and not is_loopback(name):
        return False  # a foreign name that resolves to this machine
    # localhost and 127.0.0.1 are one place: the page may be opened by either, through a tunnel as well
    same = page_name == name or (is_loopback(page_name) and is_loopback(name))
    return same and page_port == port


def is_token(given: str | None, token: str) -> bool:
    """Whether what was given is the token; how long that takes tells nothing about it."""
    return given is not None and hmac.compare_digest(given.encode(errors="replace"), token.encode())
