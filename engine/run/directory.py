"""A run on disk: the names in its directory, creating it, finding it, and whether its runner lives."""

import fcntl
import os
import re
import shutil
import time
from pathlib import Path

import msgspec
import psutil

from engine.config.layers import from_dict, read_toml, to_toml
from engine.config.schema import RunConfig
from engine.core.atomic_io import NOT_JSON, write_atomically
from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import require_writable, runs_home, user_name
from engine.hardware.versions import Code
from engine.plan.plan import Plan

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NEWEST = "last"  # the word for the newest run


class RunnerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs a run."""

    pid: int
    started: float  # Unix seconds, for people: clocks are set, so it proves nothing about a process
    host: str
    code: Code = Code()  # that runs it; empty: not noted, as before November 2026


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
    def preempt_file(self) -> Path:
        """Touched when the machine is about to be taken away."""
        return self.path / "preempt"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer of this run's model: a copy, so that the directory is complete."""
        return self.path / "tokenizer"

    @property
    def tokens_file(self) -> Path:
        """Names the token files that the run trains on, once they are written."""
        return self.path / "tokens.json"

    @property
    def report_file(self) -> Path:
        return self.path / "report.md"

    @property
    def page_file(self) -> Path:
        """The same report as a page."""
        return self.path / "report.html"

    def checkpoints(self, stage: str) -> Path:
        return self.path / "checkpoints" / stage

    def config(self) -> RunConfig:
        """The configuration. Raises UsageError when it is missing or damaged."""
        return from_dict(read_toml(self.config_file))

    def plan(self) -> Plan | None:
        """The predictions made at launch; None when they are missing or of another version."""
        try:
            return msgspec.json.decode(self.plan_file.read_bytes(), type=Plan)
        except (OSError, *NOT_JSON):
            return None

    def is_running(self) -> bool:
        """Whether the runner, or a stage that outlived it, holds the lock."""
        try:
            fd = os.open(self.lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            return self.runner() is not None  # another user's, who lets us read the rest of the run at most
        except OSError:
            return False  # never started
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look must not see each other
            return False
        except OSError:
            return True
        finally:
            os.close(fd)

    def code(self) -> Code:
        """The code of nanosolo that ran it last, where its runner noted it."""
        try:
            return msgspec.json.decode(self.runner_file.read_bytes(), type=RunnerInfo).code
        except (OSError, *NOT_JSON):
            return Code()

    def runner(self) -> RunnerInfo | None:
        """The living runner of this host; None where there is none.

        The command line distinguishes it from a process that got its id later. (The start time would not: it moves when
        the clock is set.)
        """
        try:
            info = msgspec.json.decode(self.runner_file.read_bytes(), type=RunnerInfo)
            command = psutil.Process(info.pid).cmdline()
            ours = len(command) == 4 and command[1:3] == ["-m", "engine"] and Path(command[3]).samefile(self.path)
            return info if ours else None
        except (OSError, *NOT_JSON, ValueError, OverflowError, psutil.Error):  # psutil refuses impossible ids
            return None


def require_own(run: RunDirectory) -> None:
    """Raises UsageError where the run is another user's: others may read what its owner allows, and copy it."""
    if os.access(run.path, os.W_OK):
        return
    try:
        owner = user_name(run.path.stat().st_uid)
    except OSError:
        owner = "another user"
    raise UsageError(
        f"run {run.name} is in {run.path}, where only {owner} can write. Ask {owner}, or continue with a copy: "
        f"cp -r {run.path} {runs_home()}"
    )


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
    run = named_run(name)
    require_writable(runs_home())
    try:
        run.path.mkdir(mode=0o700)
    except FileExistsError:
        raise _taken(name) from None
    try:
        write_atomically(run.config_file, to_toml(config).encode())
        write_atomically(run.plan_file, msgspec.json.format(msgspec.json.encode(plan), indent=2))
    except NanosoloError:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def named_run(name: str) -> RunDirectory:
    """The directory of a run by its name, whether it exists or not. Raises UsageError for what is no name."""
    if not NAME.fullmatch(name) or name == NEWEST:
        raise UsageError(
            f"--name {name}: use letters, digits, '.', '_' and '-', at most 100, beginning with a letter or a digit; "
            f"{NEWEST} means the newest run."
        )
    return RunDirectory(runs_home() / name)


def require_free(name: str) -> None:
    """Raises UsageError where `create_run` would refuse the name."""
    if named_run(name).path.exists():
        raise _taken(name)


def _taken(name: str) -> UsageError:
    return UsageError(f"run {name} exists already. Choose another --name. How it is doing: nanosolo runs")


def find_run(name: str) -> RunDirectory:
    """The run of that name, or at that path; `last`: the newest. Raises UsageError that lists the runs."""
    known = list_runs()
    if name == NEWEST:
        if not known:
            raise UsageError(f"there are no runs in {runs_home()} yet. Start one: nanosolo --preset quickstart")
        return known[-1]
    at_path = Path(name)
    run = RunDirectory(at_path.absolute() if "/" in name else runs_home() / name)
    if _created(run) is None:
        names = ", ".join(r.name for r in known[-8:]) or "none yet"
        raise UsageError(f"no run {name} in {runs_home()}. Runs there: {names}.")
    return run


def list_runs() -> list[RunDirectory]:
    """All run directories, oldest first by the time of their configuration."""
    try:
        runs = [RunDirectory(path) for path in runs_home().iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise NanosoloError(
            f"cannot read {runs_home()}: {error.strerror}. Check the permissions of that folder."
        ) from None
    dated = [(created, run.name, run) for run in runs if (created := _created(run)) is not None]
    return [run for *_, run in sorted(dated, key=lambda entry: entry[:2])]


def _created(run: RunDirectory) -> float | None:
    """The time of the configuration; None where there is none, or none for us to see."""
    try:
        return run.config_file.stat().st_mtime
    except (OSError, ValueError):
        return None


def free_name(stem: str) -> str:
    """A name for a new run of this preset that is not taken: stem-20260131-1405, with -2, -3 behind where needed."""
    base = f"{stem}-{time.strftime('%Y%m%d-%H%M')}"
    name, number = base, 1
    while (runs_home() / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name
