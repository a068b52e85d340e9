"""Downloads files from the Hugging Face hub or a URL: in parallel, verified, retried, with one set of messages."""

import errno
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from engine.core.atomic_io import FULL_DISK, cannot_write
from engine.core.errors import NanosoloError
from engine.core.progress import Progress
from engine.data.hub.shards import RemoteFile, ShardStore

Result = TypeVar("Result")

ATTEMPTS = 4
BACKOFF_SECONDS = 1.0  # before the second attempt; doubled after each failed one
_IN_PARALLEL = 4
_SECONDS_BETWEEN_REPORTS = 0.5
_PATHS_PER_REQUEST = 500
_LOCAL_FAULTS = {*FULL_DISK, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR}
_TIMEOUT_SECONDS = 30.0


class Origin(NamedTuple):
    """Where files come from, in the words of error messages."""

    server: str
    remedy: str  # what to do when a retry cannot help


HUB = Origin(
    "the hub",
    "HF_ENDPOINT sets a mirror. Without a network, use local text and conversations "
    "(data.source, sft.sources, chat_eval.tasks).",
)


class Damaged(Exception):
    """A downloaded file does not have the announced contents. Another attempt may succeed."""


class Hub:
    """One dataset on the hub. `endpoint`: its address (default: that of huggingface_hub, which HF_ENDPOINT sets)."""

    def __init__(self, repo: str, endpoint: str | None = None, backoff_seconds: float = BACKOFF_SECONDS) -> None:
        self.repo = repo
        self._endpoint = endpoint
        self._backoff = backoff_seconds

    def list_files(self) -> list[str]:
        """The names of all files, sorted. Raises NanosoloError."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint)
        return self._retry("the file list of", lambda: sorted(api.list_repo_files(self.repo, repo_type="dataset")))

    def describe(self, names: Sequence[str]) -> dict[str, RemoteFile]:
        """Sizes and checksums by name. Raises NanosoloError, which names a file that the dataset lacks."""
        found = self._retry("the file list of", lambda: self._describe(names))
        missing = next((name for name in names if name not in found), None)
        if missing is not None:
            raise NanosoloError(f"the dataset {self.repo} has no {missing}. Train on fewer tokens, or use other data.")
        return found

    def download(self, names: Sequence[str], store: ShardStore, progress: Progress) -> None:
        """Download the files that are missing or damaged in `store`, several at once, and verify them.

        Contacts the hub only if a file is needed. An interrupted transfer resumes; after a killed process, a new one
        keeps finished files. Raises NanosoloError.
        """
        missing = [name for name in names if not store.is_valid(name)]
        if not missing:
            return
        store.remove_leftovers()
        files = self.describe(missing)
        store.require_room(files.values())
        jobs = [(files[name].size, partial(self._download_one, files[name], store)) for name in missing]
        run_parallel(jobs, store.bytes_in_progress, progress)

    def _download_one(self, file: RemoteFile, store: ShardStore) -> None:
        def attempt() -> None:
            if store.accept_existing(file):
                return
            try:
                self._transfer(file.name, store.directory)
            except OSError as error:
                raise_if_local(store.directory / file.name, error, file.size)
                raise
            if not store.accept(file):
                raise Damaged(f"{store.directory / file.name} arrived with other contents than the hub announced")

        retry_with_backoff(f"{self.repo}/{file.name}", attempt, self._backoff)

    def _transfer(self, name: str, directory: Path) -> None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        hf_hub_download(self.repo, name, repo_type="dataset", local_dir=directory, endpoint=self._endpoint)

    def _describe(self, names: Sequence[str]) -> dict[str, RemoteFile]:
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        api = HfApi(endpoint=self._endpoint)
        found: dict[str, RemoteFile] = {}
        for start in range(0, len(names), _PATHS_PER_REQUEST):
            part = list(names[start : start + _PATHS_PER_REQUEST])
            for info in api.get_paths_info(self.repo, part, repo_type="dataset"):
                if isinstance(info, RepoFile):
                    found[info.path] = RemoteFile(info.path, info.size, info.lfs.sha256 if info.lfs else None)
        return found

    def _retry(self, what: str, action: Callable[[], Result]) -> Result:
        return retry_with_backoff(f"{what} {self.repo}", action, self._backoff)


def download_url(
    url: str,
    path: Path,
    verify: Callable[[Path], None],
    progress: Progress,
    remedy: str,
    backoff_seconds: float = BACKOFF_SECONDS,
) -> None:
    """Download a URL to `path`. A partial file at `path` is continued, also one of an earlier process.

    `verify` raises Damaged if the finished file is not valid; the file is then removed and downloaded again. `remedy`
    ends the error message. Raises NanosoloError.
    """
    size = 0

    def attempt() -> None:
        nonlocal size
        size = _announced_size(url)
        try:
            _resume(url, path, size)
        except OSError as error:
            raise_if_local(path, error, size)
            if _status_of(error) == 416:  # the partial file is longer than the file on the server
                path.unlink(missing_ok=True)
            raise
        try:
            verify(path)
        except Damaged:
            path.unlink(missing_ok=True)
            raise

    def arrived() -> int:
        return path.stat().st_size if path.is_file() else 0

    job = partial(retry_with_backoff, url, attempt, backoff_seconds, Origin("the server", remedy))
    run_parallel([(0, job)], arrived, lambda done, total, unit: progress(done, max(total, size), unit))
    progress(arrived(), arrived(), "bytes")


def run_parallel(
    jobs: Sequence[tuple[int, Callable[[], object]]], bytes_in_progress: Callable[[], int], progress: Progress
) -> None:
    """Run transfers, given with their sizes in bytes, a few at once, and report the bytes that have arrived.

    Raises the first error of a transfer; the others do not delay it.
    """
    total = sum(size for size, _ in jobs)
    todo: queue.SimpleQueue[tuple[int, Callable[[], object]]] = queue.SimpleQueue()
    for job in jobs:
        todo.put(job)
    results: queue.SimpleQueue[int | Exception] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                size, action = todo.get_nowait()
                action()
                results.put(size)
            except queue.Empty:
                return
            except Exception as error:  # for the thread that waits
                results.put(error)

    # daemon threads: a stopped run must not wait until hundreds of megabytes have arrived
    for _ in range(min(_IN_PARALLEL, len(jobs))):
        threading.Thread(target=work, daemon=True, name="download").start()
    done = finished = shown = 0
    try:
        while finished < len(jobs):
            try:
                result = results.get(timeout=_SECONDS_BETWEEN_REPORTS)
            except queue.Empty:
                pass
            else:
                if isinstance(result, Exception):
                    raise result
                done += result
                finished += 1
            arrived = done + bytes_in_progress()
            shown = max(shown, min(total, arrived) if total else arrived)
            progress(shown, total, "bytes")
    finally:
        stop.set()


def retry_with_backoff(
    what: str, action: Callable[[], Result], backoff_seconds: float = BACKOFF_SECONDS, origin: Origin = HUB
) -> Result:
    """Call `action`, which uses the network, up to ATTEMPTS times, unless a retry cannot help. Raises NanosoloError."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except NanosoloError:
            raise
        except Exception as error:  # the errors of the HTTP library differ between versions of huggingface_hub
            if attempt == ATTEMPTS - 1 or _is_final(error):
                raise NanosoloError(explain(what, error, origin)) from None
        time.sleep(backoff_seconds * 2**attempt)
    raise AssertionError("unreachable")


def raise_if_local(path: Path, error: OSError, size: int) -> None:
    """Raise NanosoloError if an error is that of the local disk, as of a full one, and not of the network."""
    if error.errno in _LOCAL_FAULTS:
        raise cannot_write(path, error, size) from None


def explain(what: str, error: Exception, origin: Origin = HUB) -> str:
    """The message for a failed download: what happened, then what to do."""
    if isinstance(error, Damaged):
        return f"{error}, {ATTEMPTS} times. Check the network or the mirror in HF_ENDPOINT, then run again."
    cause = _cause(error)
    kind = type(cause).__name__
    lines = str(cause).strip().splitlines()
    reason = f"{kind}: {lines[0] if lines else 'no details'}"[:200]
    failed = f"cannot download {what}"
    status = _status_of(cause)
    if kind == "OfflineModeIsEnabled":
        return f"{failed}: HF_HUB_OFFLINE=1 turns downloads off. Unset it, then run again. {origin.remedy}"
    if status == 407 or kind == "ProxyError":
        return f"{failed}: the proxy refused the connection ({reason}). Check HTTPS_PROXY and NO_PROXY, then run again."
    if status in (401, 403):
        return (
            f"{failed}: {origin.server} answered {status}, access denied. Check the name. For a private or gated "
            "dataset, request access on its page, then run `hf auth login` or set HF_TOKEN."
        )
    if status == 404:
        return f"{failed}: {origin.server} answered 404, not found. Check the name, or use other data."
    if status is not None:
        return f"{failed}: {origin.server} answered {status} ({reason}). Run again later, or use other data."
    if kind in ("RemoteProtocolError", "ReadError", "OSError"):
        return f"{failed}: the transfer was interrupted ({reason}). Check the network, then run again to continue."
    return f"{failed}: no answer from {origin.server} ({reason}). Check the network, then run again. {origin.remedy}"


def _announced_size(url: str) -> int:
    """The size of a file in bytes; 0 if the server does not say."""
    from huggingface_hub.utils import get_session

    answer = get_session().head(url, timeout=_TIMEOUT_SECONDS, follow_redirects=True)
    return int(answer.headers.get("Content-Length") or 0) if answer.status_code == 200 else 0


def _resume(url: str, path: Path, size: int) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    with path.open("ab") as file:
        http_get(url, file, resume_size=file.tell(), expected_size=size or None)


def _is_final(error: Exception) -> bool:
    """Whether another attempt cannot help: the server refused, or downloads are turned off."""
    status = _status_of(_cause(error))
    refused = status is not None and 400 <= status < 500 and status not in (408, 416, 429)
    return refused or type(_cause(error)).__name__ == "OfflineModeIsEnabled"


def _cause(error: Exception) -> BaseException:
    """The error behind huggingface_hub's "not in the local cache either"."""
    return error.__cause__ if type(error).__name__ == "LocalEntryNotFoundError" and error.__cause__ else error


def _status_of(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
