"""A lock for one writer at a time in a folder that runs share. Waiting is reported as progress."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from engine.core.progress import Progress


@contextmanager
def exclusive(path: Path, progress: Progress, unit: str) -> Iterator[None]:
    """Hold the lock file `path`, made if need be; while another process holds it, say so once a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            progress(0, 0, f"{unit} (waiting for another run that writes the same)")
    try:
        yield
    finally:
        lock.release()
