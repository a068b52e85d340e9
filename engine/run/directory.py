"""A run on disk: the names in its directory, creating it, finding it, and whether its runner lives."""

import fcntl
import os
import re
import time
from pathlib import Path

import msgspec
import psutil

from engine.errors import NanosoloError, UsageError
from engine.files import write_atomically
from engine.plan.config import RunConfig, from_dict, read_toml, to_toml
from engine.plan.plan import Plan
from engine.run.home import require_writable, runs_home

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunnerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs a run. The start time tells a reused process id from the runner."""

    pid: int
    started: float
    host: str


class RunDirectory:
    """The paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_file(self) -> Path:
        return self.path / "run.toml"

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.json"

    @property
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log_file(self) -> Path:
        return self.path / "engine.log"

    @property
    def lock_file(self) -> Path:
        return self.path / "runner.lock"

    @property
    def runner_file(self) -> Path:
        return self.path / "runner.json"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer of this run's model: a copy, so that the directory is complete."""
        return self.path / "tokenizer"

    @property
    def report_file(self) -> Path:
        return self.path / "report.md"

    def checkpoints(self, stage: str) -> Path:
        return self.path / "checkpoints" / stage

    def config(self) -> RunConfig:
        """The configuration. Raises UsageError when it is missing or damaged."""
        return from_dict(read_toml(self.config_file))

    def plan(self) -> Plan | None:
        """The predictions made at launch; None when they are missing or of another version."""
        try:
            return msgspec.json.decode(self.plan_file.read_bytes(), type=Plan)
        except (OSError, msgspec.DecodeError):
            return None

    def is_running(self) -> bool:
        """Whether the runner, or a stage that outlived it, holds the lock."""
        try:
            with RunLock(self):
                return False
        except BlockingIOError:
            return True
        except OSError:
            return False

    def runner(self) -> RunnerInfo | None:
        """The living runner of this host; None where there is none."""
        try:
            info = msgspec.json.decode(self.runner_file.read_bytes(), type=RunnerInfo)
            process = psutil.Process(info.pid)
            return info if abs(process.create_time() - info.started) < 2 else None
        except (OSError, msgspec.DecodeError, psutil.Error):
            return None


class RunLock:
    """The lock on a run: an flock on runner.lock. The kernel frees it when its last holder dies.

    The runner hands the descriptor on to its stages, so the lock outlives a runner whose stage still trains.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._path = run.lock_file
        self.fd = -1

    def acquire(self) -> None:
        """Raises BlockingIOError when it is held, OSError when the file cannot be opened."""
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def create_run(name: str, config: RunConfig, plan: Plan) -> RunDirectory:
    """Make the directory of a new run. Raises UsageError when the name is taken or unusable."""
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name}: use letters, digits, '.', '_' and '-', at most 100, beginning with a letter.")
    require_writable(runs_home())
    run = RunDirectory(runs_home() / name)
    try:
        run.path.mkdir(mode=0o700)
    except FileExistsError:
        raise UsageError(
            f"run {name} exists already. Go on with it (nanosolo resume {name}) or choose another --name."
        ) from None
    write_atomically(run.config_file, to_toml(config).encode())
    write_atomically(run.plan_file, msgspec.json.format(msgspec.json.encode(plan), indent=2))
    return run


def find_run(name: str) -> RunDirectory:
    """The run of that name, or at that path; `last`: the newest. Raises UsageError that lists what there is."""
    known = list_runs()
    if name == "last" and known:
        return known[-1]
    at_path = Path(name)
    run = RunDirectory(at_path.absolute() if "/" in name else runs_home() / name)
    if not run.config_file.exists():
        names = ", ".join(r.name for r in known[-8:]) or "none yet"
        raise UsageError(f"no run {name} in {runs_home()}. Runs there: {names}.")
    return run


def list_runs() -> list[RunDirectory]:
    """All run directories, oldest first by the time of their configuration."""
    folder = runs_home()
    if not folder.is_dir():
        return []
    found = [RunDirectory(path) for path in folder.iterdir() if (path / "run.toml").is_file()]
    return sorted(found, key=lambda run: (run.config_file.stat().st_mtime, run.name))


def free_name(stem: str) -> str:
    """A name for a new run of this preset that is not taken: stem-20260131-1405, with -2, -3 behind where needed."""
    base = f"{stem}-{time.strftime('%Y%m%d-%H%M')}"
    name, number = base, 1
    while (runs_home() / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name
