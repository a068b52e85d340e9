"""`nanosolo serve`: refuses strangers, says how to tunnel, and serves the real console to a real browser's socket."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import UsageError
from tui.serve import is_loopback, is_ours, serve, tunnel


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_addresses_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_all_others_are_refused_with_the_way_to_tunnel(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(UsageError, match="ssh -L 8123"):
        serve(host, 8123)


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"Host": "127.0.0.1:8000"}, True),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}, True),
        ({"Host": "127.0.0.1:8000", "Origin": "http://localhost:8000"}, True),
        ({"Host": "127.0.0.1:8000", "Origin": "http://localhost:9000"}, False),
        ({"Host": "127.0.0.1:8000", "Origin": "http://evil.example"}, False),
        ({"Host": "127.0.0.1:8000", "Origin": "null"}, False),
        ({"Host": "evil.example:8000"}, False),
        ({"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, False),
        ({}, False),
    ],
)
def test_only_our_own_page_may_speak(headers: dict[str, str], ours: bool) -> None:
    assert is_ours(headers, "127.0.0.1") is ours


def test_tunnel_names_the_port_on_both_sides() -> None:
    assert tunnel(8123).startswith("ssh -L 8123:localhost:8123 ")


async def test_the_console_comes_through_the_socket(tmp_path: Path) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    pytest.importorskip("textual_serve")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "NANOSOLO_HOME": str(tmp_path), "NANOSOLO_CONFIG": str(tmp_path / "none.toml")}
    code = f"from tui.serve import serve; serve(port={port})"
    server = subprocess.Popen((sys.executable, "-c", code), env=environment, stdout=subprocess.DEVNULL)
    seen = b""
    try:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}"
            for _ in range(200):
                try:
                    async with session.get(url) as page:
                        assert page.status == 200
                    break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.1)
            async with session.get(url, headers={"Host": "evil.example"}) as page:
                assert page.status == 403
            async with session.ws_connect(f"{url}/ws?width=100&height=30", origin=url) as wire:
                async with asyncio.timeout(60):
                    while b"Settings" not in seen:
                        seen += (await wire.receive_bytes()) or b""
    finally:
        server.terminate()
        server.wait()
    assert b"quickstart" in seen
