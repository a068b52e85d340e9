"""A chat server as a user starts it, and clients for it."""

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.run.directory import RunDirectory
from tests.helpers.trained_run import home_of


class Server:
    """A running server."""

    def __init__(self, address: str, process: "subprocess.Popen[str]") -> None:
        self.address = address
        self.process = process
        self.port = int(address.rpartition(":")[2])

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of one request; `_` in the names of headers is `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {"Content-Type": "application/json"} if content is not None else {}
        connection.request(method, path, content, kind | named)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, json.loads(text) if response.headers.get_content_type() == "application/json" else text


@contextmanager
def serving(run: RunDirectory, *options: str) -> Iterator[Server]:
    """Run `nanosolo chat --serve` on a free port."""
    command = [sys.executable, "-c", "from tui.cli.main import entry; entry()"]
    process = subprocess.Popen(
        [*command, "chat", run.name, "--serve", "--port", "0", *options],
        env=home_of(run),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        found = re.search(r"http://[^/]+", line)
        assert found, line + process.stderr.read()
        yield Server(found[0], process)
    finally:
        process.terminate()
        process.communicate(timeout=30)
