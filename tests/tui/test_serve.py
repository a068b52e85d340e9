"""`nanosolo serve`: refuses strangers, demands its token, and serves the real console to a real browser's socket."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import UsageError
from engine.serve import http_security
from tests.helpers.command_line import PROGRAM, environment, nanosolo
from tui.cli.parser import build_parser
from tui.cli.web import is_loopback, is_ours, is_token, serve, tunnel


def test_without_a_named_port_the_next_free_one_is_taken_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http_security, "DEFAULT_PORT", free_port())
    servers = []
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            servers.append(stack.enter_context(http_security.listen("127.0.0.1", None)).getsockname()[1])
        first, second, third = servers
        assert first == http_security.DEFAULT_PORT < second < third
        assert capsys.readouterr().err == "".join(
            f"port {first} is in use, using port {port}\n" for port in (second, third)
        )
        with pytest.raises(
            UsageError, match=rf"--port {second} on 127.0.0.1 is in use .* next free one from {first} up"
        ):
            http_security.listen("127.0.0.1", second)
        monkeypatch.setattr(http_security, "PORTS_TRIED", 1)
        with pytest.raises(
            UsageError, match=rf"all ports from {first} to {first} .* in use. Choose a free one with --port"
        ):
            http_security.listen("127.0.0.1", None)


def test_the_help_names_the_default_port() -> None:
    commands = next(action for action in build_parser()._actions if isinstance(action.choices, dict))
    assert commands.choices is not None
    for command in ("chat", "serve"):
        [port] = (action for action in commands.choices[command]._actions if action.dest == "port")
        assert f"first free one from {http_security.DEFAULT_PORT}" in str(port.help) and port.default is None


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


def test_a_token_is_known_whatever_it_holds() -> None:
    assert is_token("a token of words ü", "a token of words ü")
    assert not is_token("a token of words", "a token of words ü")
    assert not is_token("\udcff", "a token of words ü")
    assert not is_token(None, "")


def test_a_short_token_is_refused() -> None:
    with pytest.raises(UsageError, match="needs 16"):
        serve("0.0.0.0", 8123, allow_remote=True, token="secret")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def served(home: Path, port: int, *options: str) -> AsyncIterator[list[str]]:
    """`nanosolo serve` at a port, with what it printed once it was ready."""
    settings = {"NANOSOLO_CONFIG": str(home / "none.toml"), "PYTHONUNBUFFERED": "1"}
    server = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "serve", "--port", str(port), *options),
        env=environment(home, **settings),
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None
    try:
        async with asyncio.timeout(60):
            yield [(await server.stdout.readline()).decode() for _ in range(2)]
    finally:
        server.send_signal(signal.SIGINT)
        assert await server.wait() == 0


async def read_until(wire: Any, words: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(60):
        while words not in seen:
            seen += (await wire.receive_bytes()) or b""
    return seen


async def test_the_console_comes_through_the_socket(tmp_path: Path) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    pytest.importorskip("textual_serve")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with served(tmp_path, port) as said, aiohttp.ClientSession() as session:
        assert url in said[0] and "token" not in said[0] and "ssh -L" in said[1]
        async with session.get(url) as page:
            assert page.status == 200
        # a tunnel brings the browser by another name: the page must lead it back there, where its cookies are
        async with session.get(url, headers={"Host": "localhost:9999"}) as page:
            assert "ws://localhost:9999/ws" in await page.text()
        async with session.get(url, headers={"Host": "evil.example"}) as page:
            assert page.status == 403
        async with session.ws_connect(f"{url}/ws?width=100&height=30", origin=url) as wire:
            assert b"quickstart" in await read_until(wire, b"Settings")


async def test_others_get_in_by_the_token_that_was_printed(tmp_path: Path) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    pytest.importorskip("textual_serve")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with served(tmp_path, port, "--host", "0.0.0.0", "--allow-remote") as said:
        token = said[0].split("?token=")[1].split()[0]
        assert len(token) >= 32 and "not encrypted" in said[1]
        jar = aiohttp.CookieJar(unsafe=True)  # else it keeps none for a bare address
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            for path in ("/", "/ws", "/static/js/textual.js", "/?token=wrong", f"/ws?token={token}"):
                async with session.get(url + path) as page:
                    assert page.status == 401, path
            async with session.get(f"{url}/?token={token}") as page:
                assert page.status == 200 and "token" not in str(page.url)  # the cookie has taken over
                assert token not in await page.text()
            async with session.ws_connect(f"{url}/ws?width=100&height=30", origin=url) as wire:
                assert b"quickstart" in await read_until(wire, b"Settings")
        async with aiohttp.ClientSession() as stranger, stranger.get(url) as page:
            assert page.status == 401


def test_a_port_in_use_is_named_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("textual_serve")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = nanosolo(tmp_path, "serve", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --port {port} on 127.0.0.1 is in use by another program.")
    assert done.stderr.count("\n") == 1
