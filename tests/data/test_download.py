"""The downloader of plain URLs, as of the CORE bundle, and its error messages, against a server on this machine."""

import io
import json
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from engine.core.atomic_io import DiskFull
from engine.core.errors import NanosoloError
from engine.core.progress import silent
from engine.data import core_bundle
from engine.data.hub import download
from engine.data.hub.download import Damaged, Origin, download_url, explain, raise_if_local, retry_with_backoff
from tests.helpers.core_bundle import write_bundle
from tests.helpers.hub_server import HubServer

NAME = "eval_bundle.zip"


class FileServer(HubServer):
    """Serves files at plain URLs."""

    def _file(self, handler: BaseHTTPRequestHandler) -> None:
        handler.path = f"/datasets/{self.repo}/resolve/main{handler.path}"
        super()._file(handler)

    @property
    def url(self) -> str:
        return f"{self.endpoint}/{NAME}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = write_bundle(tmp_path / "made" / "eval_bundle")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*"):
            file.write(path, path.relative_to(tmp_path / "made"))
    made = FileServer("a/b", {NAME: archive.getvalue()})
    monkeypatch.setattr(core_bundle, "URL", made.url)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    yield made
    made.close()


def test_the_core_bundle_is_downloaded_verified_and_unpacked(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    home = tmp_path / "home"
    home.mkdir()
    folder = core_bundle.find_bundle("download", home, lambda *report: seen.append(report))
    assert folder == home / "eval_bundle"
    size = len(server.files[NAME])
    assert json.loads((folder / "source.json").read_text())["bytes"] == size
    assert seen[-1] == (size, size, "bytes")
    assert not list(home.glob("*.part"))
    assert core_bundle.find_bundle("download", home) == folder
    assert server.transfers() == [NAME]


def test_a_partial_file_of_an_earlier_process_is_continued(server: FileServer, tmp_path: Path) -> None:
    content = server.files[NAME]
    (tmp_path / "eval_bundle.zip.part").write_bytes(content[:500])
    core_bundle.find_bundle("download", tmp_path)
    assert [wanted for method, _, wanted in server.requests if method == "GET"] == ["bytes=500-"]


def test_a_partial_file_that_does_not_fit_is_replaced(server: FileServer, tmp_path: Path) -> None:
    content = server.files[NAME]
    (tmp_path / "eval_bundle.zip.part").write_bytes(b"\0" * (len(content) - 10))
    core_bundle.find_bundle("download", tmp_path)
    assert server.transfers() == [NAME, NAME]


def test_an_interrupted_transfer_continues(server: FileServer, tmp_path: Path) -> None:
    server.cut_after[NAME] = 300
    core_bundle.find_bundle("download", tmp_path)
    assert len(server.transfers()) == 2


def test_a_file_that_stays_damaged_is_refused(server: FileServer, tmp_path: Path) -> None:
    server.files[NAME] = b"an error page" * 10
    with pytest.raises(NanosoloError, match=r"not a zip archive: .*, 4 times\."):
        core_bundle.find_bundle("download", tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_a_missing_file_is_final(server: FileServer, tmp_path: Path) -> None:
    server.status[NAME] = 404
    with pytest.raises(NanosoloError, match=r"cannot download .*: the server answered 404, not found\."):
        core_bundle.find_bundle("download", tmp_path)
    assert len(server.transfers()) == 1


def test_no_answer_says_what_to_do(server: FileServer, tmp_path: Path) -> None:
    server.close()
    with pytest.raises(NanosoloError, match=r"no answer from the server .* Place it by hand\.$"):
        download_url(server.url, tmp_path / "x", lambda path: None, silent, "Place it by hand.", 0.0)


class _Answer:
    def __init__(self, status: int) -> None:
        self.status_code = status


class HTTPError(Exception):
    """An error with a response, as HTTP libraries raise it."""

    def __init__(self, status: int) -> None:
        super().__init__("the answer\nof the server")
        self.response = _Answer(status)


class OfflineModeIsEnabled(ConnectionError):
    """Named as that of huggingface_hub."""


class ProxyError(Exception):
    """Named as those of HTTP libraries."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (HTTPError(401), "access denied"),
        (HTTPError(403), "HF_TOKEN"),
        (HTTPError(404), "not found"),
        (HTTPError(407), "HTTPS_PROXY"),
        (HTTPError(503), "Run again later"),
        (ProxyError("refused"), "HTTPS_PROXY"),
        (OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE=1"),
        (OSError("Consistency check failed"), "interrupted"),
        (TimeoutError(), "no answer from the hub"),
        (Damaged("x is damaged"), "x is damaged, 4 times"),
    ],
)
def test_each_failure_has_a_message_of_one_line(error: Exception, message: str) -> None:
    text = explain("a file", error)
    assert message in text and "\n" not in text and text.endswith(".")
    assert "the server" in explain("a file", HTTPError(404), Origin("the server", ""))


@pytest.mark.parametrize(("status", "attempts"), [(401, 1), (404, 1), (408, 4), (429, 4), (500, 4)])
def test_only_what_can_help_is_tried_again(status: int, attempts: int) -> None:
    tries: list[int] = []

    def action() -> None:
        tries.append(1)
        raise HTTPError(status)

    with pytest.raises(NanosoloError):
        retry_with_backoff("a file", action, 0.0)
    assert len(tries) == attempts


def test_a_full_disk_is_not_a_network_fault(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="7 bytes"):
        raise_if_local(tmp_path / "x", OSError(28, "No space left on device"), 7)
    raise_if_local(tmp_path / "x", OSError("reset by peer"), 7)
