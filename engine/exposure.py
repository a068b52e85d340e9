"""Who may reach a server of ours: addresses of this machine only, pages of our own, tokens."""

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

SHORTEST_TOKEN = 16  # characters: nobody guesses that over a network


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
