"""A small server with the parts of the Hugging Face hub's protocol that downloads need, and with faults."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves `files` of one dataset. Faults are set by file name before the download."""

    def __init__(self, repo: str, files: dict[str, bytes]) -> None:
        self.repo = repo
        self.files = files
        self.cut_after: dict[str, int] = {}  # the first transfer is cut after this many bytes
        self.corrupt: dict[str, int] = {}  # the number of transfers with a flipped byte
        self.status: dict[str, int] = {}  # status of GET and HEAD
        self.claimed_size: dict[str, int] = {}  # the size in the list, instead of the true one
        self.held_back: dict[str, threading.Event] = {}  # GET answers only when this is set
        self.failing_lists = 0  # the number of requests for checksums that fail with 503
        self.requests: list[tuple[str, str, str | None]] = []  # method, file, Range
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                hub._list(self)

            def do_HEAD(self) -> None:
                hub._file(self)

            def do_GET(self) -> None:
                hub._file(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def transfers(self) -> list[str]:
        """The requested files, each as often as it was requested."""
        return [name for method, name, _ in self.requests if method == "GET"]

    def _list(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        asked = parse_qs(body)["paths"]
        if handler.path != f"/api/datasets/{self.repo}/paths-info/main":
            self._answer(handler, 404, b"{}", {})
        elif self.failing_lists:
            self.failing_lists -= 1
            self._answer(handler, 503, b"{}", {})
        else:
            found = [
                {
                    "type": "file",
                    "path": name,
                    "size": self.claimed_size.get(name, len(content)),
                    "oid": "0" * 40,
                    "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134},
                }
                for name, content in self.files.items()
                if name in asked
            ]
            self._answer(handler, 200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _file(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.rpartition("/")[2]
        wanted = handler.headers.get("Range")
        self.requests.append((handler.command, name, wanted))
        known = handler.path == f"/datasets/{self.repo}/resolve/{self._revision(handler)}/{name}" and name in self.files
        if handler.command == "GET" and name in self.held_back:
            self.held_back[name].wait()
        status = self.status.get(name, 200 if known else 404)
        if status != 200:
            self._answer(handler, status, b"", {"X-Error-Code": "EntryNotFound"} if status == 404 else {})
            return
        content = self.files[name]
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        if handler.command == "GET" and self.corrupt.get(name):
            self.corrupt[name] -= 1
            content = content[:100] + bytes([content[100] ^ 1]) + content[101:]
        if wanted:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._answer(handler, 206, content[start:], headers)
        elif handler.command == "GET" and name in self.cut_after:
            cut = self.cut_after.pop(name)
            self._answer(handler, 200, content[:cut], headers, length=len(content))
            handler.close_connection = True
        else:
            self._answer(handler, 200, content, headers)

    def _revision(self, handler: BaseHTTPRequestHandler) -> str:
        return COMMIT if COMMIT in handler.path else "main"

    def _answer(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str],
        length: int | None = None,  # Content-Length; default: the true one
    ) -> None:
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
            handler.wfile.flush()
