"""Network access of the chat server: listening address, allowed origins, token check."""

import errno
import hmac
import ipaddress
import socket
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from engine.core.errors import UsageError

SHORTEST_TOKEN = 16  # characters: too long to guess over a network
DEFAULT_PORT = 8000
PORTS_TRIED = 100  # from the default port up


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket at `host` and `port`. Without a port, the first free one from DEFAULT_PORT up. Raises
    UsageError if the address cannot be used or the given port is in use."""
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    first = DEFAULT_PORT if port is None else port
    for candidate in range(first, first + PORTS_TRIED if port is None else first + 1):
        try:
            listening = socket.create_server((bare, candidate), family=family)
        except OverflowError:
            raise UsageError(f"--port {candidate}: expected 1 to 65535.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(
                    f"cannot serve at --host {host} --port {candidate}: {error}. Choose another address."
                ) from None
            continue
        if port is None and candidate != DEFAULT_PORT:
            print(f"port {DEFAULT_PORT} is in use, using port {candidate}", file=sys.stderr)
        return listening
    if port is None:
        last = first + PORTS_TRIED - 1
        raise UsageError(f"all ports from {first} to {last} on {host} are in use. Choose a free one with --port.")
    raise UsageError(
        f"--port {port} on {host} is in use by another program. Choose another port, or omit --port for the next free "
        f"one from {DEFAULT_PORT} up. To see the program: ss -ltnp"
    )


def is_loopback(host: str) -> bool:
    """Whether an address is reachable only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_ours(headers: Mapping[str, str], host: str) -> bool:
    """Whether a request has this server's host name and comes from its own page, not from another site."""
    asked = str(headers.get("Host", ""))
    try:
        server = urlsplit(f"//{asked}")
        name, port = server.hostname or "", server.port
        origin = headers.get("Origin")
        page = urlsplit(origin) if origin is not None else None
        page_name, page_port = (page.hostname or "", page.port) if page is not None else (name, port)
    except ValueError:  # not a valid address
        return False
    if is_loopback(host) and not is_loopback(name):
        return False  # a foreign name that resolves to this machine (DNS rebinding)
    # localhost and 127.0.0.1 are equivalent: the page may be opened by either, also through a tunnel
    same = page_name == name or (is_loopback(page_name) and is_loopback(name))
    return same and page_port == port


def is_token(given: str | None, token: str) -> bool:
    """Whether `given` is the token, compared in constant time."""
    return given is not None and hmac.compare_digest(given.encode(errors="replace"), token.encode())
