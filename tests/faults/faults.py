"""The faults: each disturbs a run in one way, at a random moment, and checks the immediate effect."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from engine.core.errors import NanosoloError
from engine.events.history import read_history
from engine.events.kinds import Progress, encode
from engine.launch import control
from engine.launch.start import resume_run
from engine.run.directory import RunDirectory
from tests.faults.faulted_run import FaultedRun

Fault = Callable[[FaultedRun], None]
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
YEAR = 365 * 24 * 3600.0


def ends_by(who: str, number: signal.Signals) -> Fault:
    """Send the runner or the trainer a signal that ends the run."""

    def fault(faulted: FaultedRun) -> None:
        faulted.at_some_moment()
        faulted.signal(faulted.runner() if who == "runner" else faulted.trainer(), number)
        faulted.wait_until_over()

    return fault


def hang_up(faulted: FaultedRun) -> None:
    """The connection is lost: the run is not affected."""
    faulted.at_some_moment()
    was_running, runner = faulted.run.is_running(), faulted.runner()
    for pid in (faulted.runner(), faulted.trainer()):
        faulted.signal(pid, signal.SIGHUP)
    time.sleep(0.3)
    if was_running and faulted.runner() != runner and not faulted.is_done():
        raise AssertionError("SIGHUP ended the run")


def machine_goes_down(faulted: FaultedRun) -> None:
    faulted.at_some_moment()
    faulted.kill_all()


def runner_dies_alone(faulted: FaultedRun) -> None:
    """The trainer continues and holds the lock; no second runner can start."""
    faulted.at_some_moment()
    faulted.signal(faulted.runner(), signal.SIGKILL)
    faulted.wait_until(lambda: faulted.runner() is None, "the runner's end")
    orphan = faulted.trainer()
    if orphan is not None and faulted.run.is_running():
        with contextlib.suppress(NanosoloError):
            resume_run(faulted.run)
            if faulted.run.is_running() and faulted.trainer() == orphan:
                raise AssertionError("two trainers on one run")
        match faulted.draw.choice(("wait", "stop", "kill")):
            case "stop":
                with contextlib.suppress(NanosoloError):
                    control.stop_run(faulted.run)
            case "kill":
                faulted.signal(orphan, signal.SIGKILL)
    faulted.wait_until_over()


def preempted(faulted: FaultedRun) -> None:
    faulted.at_some_moment()
    faulted.run.preempt_file.touch()
    faulted.wait_until_over()


def two_runners(faulted: FaultedRun) -> None:
    """A second runner is refused and does not affect the first."""
    faulted.at_some_moment()
    command = (sys.executable, "-m", "engine", str(faulted.run.path))
    second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if second.returncode == 2 and "running already" not in second.stderr:
        raise AssertionError(second.stderr)
    # if the first has ended meanwhile, the second takes its place


def follower_dies(faulted: FaultedRun) -> None:
    faulted.at_some_moment()
    command = (sys.executable, "-m", "tui.cli.main", "attach", str(faulted.run.path))
    follower = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(faulted.draw.uniform(0.2, 1.5))
    follower.send_signal(faulted.draw.choice((signal.SIGKILL, signal.SIGHUP, signal.SIGTERM)))
    follower.wait()


def disk_full_for_a_while(faulted: FaultedRun) -> None:
    """Limit the file size of trainer and runner to a random value, like a full disk."""
    faulted.at_some_moment()
    most = faulted.draw.choice((0, 500, 20_000, 200_000, 400_000))
    _limit(faulted.processes(), (most, resource.RLIM_INFINITY))
    time.sleep(faulted.draw.uniform(0.05, 1.5))
    _limit(faulted.processes(), UNLIMITED)  # also of a trainer that started meanwhile and inherited it


def disk_full_at_the_start(faulted: FaultedRun) -> None:
    """A runner that cannot write says so and changes nothing."""
    if faulted.run.is_running():
        faulted.kill_all()
    most = faulted.draw.choice((0, 100, 3000))
    code = (
        f"import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, ({most}, resource.RLIM_INFINITY))\n"
        f"sys.argv = ['engine', {str(faulted.run.path)!r}]\nfrom engine.__main__ import main\nsys.exit(main())"
    )
    runner = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, told = runner.communicate(timeout=faulted.draw.uniform(3, 10))
    except subprocess.TimeoutExpired:
        stages = psutil.Process(runner.pid).children()
        runner.kill()  # it trains, and waits for space at the end
        for stage in stages:
            faulted.signal(stage.pid, signal.SIGKILL)
        _, told = runner.communicate()
    if "Traceback" in told:
        raise AssertionError(told)
    faulted.wait_until_over()


def _limit(pids: list[int], limit: tuple[int, int]) -> None:
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, limit)


# files that are damaged while the run does not use them


def _hurt(faulted: FaultedRun, path: Path) -> None:
    """Flip a bit of a file, cut it off, or remove it."""
    content = bytearray(path.read_bytes())
    match faulted.draw.choice(("flip", "flip", "cut", "empty", "gone")):
        case "flip":
            content[faulted.draw.randrange(len(content))] ^= 1 << faulted.draw.randrange(8)
        case "cut":
            del content[faulted.draw.randrange(len(content)) :]
        case "empty":
            content.clear()
        case "gone":
            path.unlink()
            return
    path.write_bytes(content)


def checkpoint_damaged(faulted: FaultedRun) -> None:
    faulted.down()
    there = faulted.checkpoints()
    if not there:
        return
    _hurt(faulted, faulted.draw.choice(sorted(there[-1].iterdir())))
    if len(there) == 1 and not faulted.is_done():
        # it is refused; follow the advice of the message
        faulted.start()
        faulted.wait_until_over()
        ended = faulted.history().ended
        if ended is not None and ended.outcome != "done" and "is whole" in ended.message:
            shutil.rmtree(faulted.run.checkpoints(faulted.stage))


def write_interrupted(faulted: FaultedRun) -> None:
    """Leave what a machine leaves that goes down during a write."""
    faulted.down()
    folder = faulted.run.checkpoints(faulted.stage)
    partial = folder / f".step_{faulted.draw.randrange(50):06d}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    (partial / "model.safetensors").write_bytes(os.urandom(1000))
    (faulted.run.path / "runner.json.tmp").write_bytes(b"{")


def events_damaged(faulted: FaultedRun) -> None:
    faulted.down()
    faulted.events_hurt_at = max(faulted.events_hurt_at, faulted.reached())
    path = faulted.run.events_file
    content = bytearray(path.read_bytes())
    at = faulted.draw.randrange(len(content))
    match faulted.draw.choice(("torn", "flip", "nul", "noise", "long")):
        case "torn":
            del content[max(at, len(content) - 200) :]
        case "flip":
            content[at] ^= 1 << faulted.draw.randrange(8)
        case "nul":
            content[at : at + 300] = bytes(len(content[at : at + 300]))
        case "noise":
            content[at:at] = os.urandom(300)
        case "long":
            content += b'{"kind":"step","stage":"' + b"x" * 100_000 + b"\n"
    path.write_bytes(content)


def tokens_damaged(faulted: FaultedRun) -> None:
    faulted.down()
    folder = faulted.run.path / "tokens"
    if folder.is_dir():
        _hurt(faulted, faulted.draw.choice(sorted(folder.iterdir())))


def tokenizer_damaged(faulted: FaultedRun) -> None:
    """A new tokenizer would be different: refused until the old one is back."""
    faulted.down()
    if faulted.is_done():
        return
    [file] = [path for path in faulted.run.tokenizer.iterdir() if path.is_file()]
    content = file.read_bytes()
    _hurt(faulted, file)
    faulted.start()
    faulted.wait_until_over()
    if not faulted.is_done() and "tokenizer" not in faulted.history().ended.message:  # type: ignore[union-attr]
        raise AssertionError(faulted.history().ended)
    file.write_bytes(content)


def configuration_damaged(faulted: FaultedRun) -> None:
    """Refused, or reported in a warning: a copy of the run shows which."""
    faulted.down()
    copy = RunDirectory(faulted.run.path.with_name(faulted.run.name + "-copy"))
    shutil.copytree(faulted.run.path, copy.path)
    before = copy.config()
    _hurt(faulted, copy.config_file)
    try:
        with contextlib.suppress(NanosoloError):
            after = copy.config()
            if after != before and faulted.checkpoints() and not faulted.is_done():
                resume_run(copy)
                faulted.wait_until(lambda: _is_told(copy) or not copy.is_running(), "a word about the configuration")
                ended = read_history(copy.events_file).ended
                if not _is_told(copy) and (ended is None or ended.outcome == "done"):
                    raise AssertionError("another configuration went on without a word")
    finally:
        with contextlib.suppress(NanosoloError):
            control.stop_run(copy, now=True)
        faulted.wait_until(lambda: not copy.is_running(), "the end of the copy")
        shutil.rmtree(copy.path)


def _is_told(run: RunDirectory) -> bool:
    return any(warning.code == "config_changed" for warning in read_history(run.events_file).warnings)


def process_id_reused(faulted: FaultedRun) -> None:
    """After a reboot, another process has the runner's process id."""
    faulted.down()
    me = psutil.Process()
    stale = {"pid": me.pid, "started": me.create_time(), "host": os.uname().nodename}
    faulted.run.runner_file.write_text(json.dumps(stale))
    if faulted.run.is_running() or faulted.runner() is not None:
        raise AssertionError("another process is taken for the runner")


def clock_jumps(faulted: FaultedRun) -> None:
    faulted.down()
    for jump in (-YEAR, YEAR, -20 * YEAR):
        with faulted.run.events_file.open("ab") as file:
            file.write(encode(Progress(t=time.time() + jump, stage="data", done=1, total=1, unit="files")))


FAULTS: dict[str, Fault] = {
    "kill -9 trainer": ends_by("trainer", signal.SIGKILL),
    "SIGTERM trainer": ends_by("trainer", signal.SIGTERM),
    "SIGTERM runner": ends_by("runner", signal.SIGTERM),
    "SIGINT runner": ends_by("runner", signal.SIGINT),
    "SIGQUIT runner": ends_by("runner", signal.SIGQUIT),
    "SIGHUP to all": hang_up,
    "machine goes down": machine_goes_down,
    "kill -9 runner, trainer lives": runner_dies_alone,
    "preempt file": preempted,
    "two runners": two_runners,
    "follower dies": follower_dies,
    "disk full for a while": disk_full_for_a_while,
    "disk full at the start": disk_full_at_the_start,
    "checkpoint damaged": checkpoint_damaged,
    "write interrupted": write_interrupted,
    "events damaged": events_damaged,
    "tokens damaged": tokens_damaged,
    "tokenizer damaged": tokenizer_damaged,
    "configuration damaged": configuration_damaged,
    "process id reused": process_id_reused,
    "clock jumps": clock_jumps,
}
