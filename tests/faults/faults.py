"""The faults: each hurts a run in one way, at a moment of chance, and sees what must hold at once."""

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
from tests.faults.world import World

Fault = Callable[[World], None]
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
YEAR = 365 * 24 * 3600.0


def ends_by(who: str, number: signal.Signals) -> Fault:
    """A signal to runner or trainer that ends the run, one way or another."""

    def fault(world: World) -> None:
        world.at_some_moment()
        world.signal(world.runner() if who == "runner" else world.trainer(), number)
        world.wait_until_over()

    return fault


def hang_up(world: World) -> None:
    """The connection is lost: nobody notices."""
    world.at_some_moment()
    was_running, runner = world.run.is_running(), world.runner()
    for pid in (world.runner(), world.trainer()):
        world.signal(pid, signal.SIGHUP)
    time.sleep(0.3)
    if was_running and world.runner() != runner and not world.is_done():
        raise AssertionError("SIGHUP ended the run")


def machine_goes_down(world: World) -> None:
    world.at_some_moment()
    world.kill_all()


def runner_dies_alone(world: World) -> None:
    """The trainer works on and holds the lock; nobody else may start."""
    world.at_some_moment()
    world.signal(world.runner(), signal.SIGKILL)
    world.wait_until(lambda: world.runner() is None, "the runner's end")
    orphan = world.trainer()
    if orphan is not None and world.run.is_running():
        with contextlib.suppress(NanosoloError):
            resume_run(world.run)
            if world.run.is_running() and world.trainer() == orphan:
                raise AssertionError("two trainers on one run")
        match world.draw.choice(("wait", "stop", "kill")):
            case "stop":
                with contextlib.suppress(NanosoloError):
                    control.stop_run(world.run)
            case "kill":
                world.signal(orphan, signal.SIGKILL)
    world.wait_until_over()


def preempted(world: World) -> None:
    world.at_some_moment()
    world.run.preempt_file.touch()
    world.wait_until_over()


def two_runners(world: World) -> None:
    """A second runner is refused and leaves the first alone."""
    world.at_some_moment()
    command = (sys.executable, "-m", "engine", str(world.run.path))
    second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if second.returncode == 2 and "running already" not in second.stderr:
        raise AssertionError(second.stderr)
    # where the first was over meanwhile, the second took its place


def follower_dies(world: World) -> None:
    world.at_some_moment()
    command = (sys.executable, "-m", "tui.cli.main", "attach", str(world.run.path))
    follower = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(world.draw.uniform(0.2, 1.5))
    follower.send_signal(world.draw.choice((signal.SIGKILL, signal.SIGHUP, signal.SIGTERM)))
    follower.wait()


def disk_full_for_a_while(world: World) -> None:
    """No file of trainer and runner may grow beyond a size of chance, as if the disk had no more."""
    world.at_some_moment()
    most = world.draw.choice((0, 500, 20_000, 200_000, 400_000))
    _limit(world.processes(), (most, resource.RLIM_INFINITY))
    time.sleep(world.draw.uniform(0.05, 1.5))
    _limit(world.processes(), UNLIMITED)  # with a trainer that came meanwhile and inherited it


def disk_full_at_the_start(world: World) -> None:
    """A runner that cannot write anything says so and leaves what is there."""
    if world.run.is_running():
        world.kill_all()
    most = world.draw.choice((0, 100, 3000))
    code = (
        f"import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, ({most}, resource.RLIM_INFINITY))\n"
        f"sys.argv = ['engine', {str(world.run.path)!r}]\nfrom engine.__main__ import main\nsys.exit(main())"
    )
    runner = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, told = runner.communicate(timeout=world.draw.uniform(3, 10))
    except subprocess.TimeoutExpired:
        stages = psutil.Process(runner.pid).children()
        runner.kill()  # it trains, and waits for room at the end
        for stage in stages:
            world.signal(stage.pid, signal.SIGKILL)
        _, told = runner.communicate()
    if "Traceback" in told:
        raise AssertionError(told)
    world.wait_until_over()


def _limit(pids: list[int], limit: tuple[int, int]) -> None:
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, limit)


# files that change while nobody looks


def _hurt(world: World, path: Path) -> None:
    """A flipped bit, a cut, or nothing left of a file."""
    content = bytearray(path.read_bytes())
    match world.draw.choice(("flip", "flip", "cut", "empty", "gone")):
        case "flip":
            content[world.draw.randrange(len(content))] ^= 1 << world.draw.randrange(8)
        case "cut":
            del content[world.draw.randrange(len(content)) :]
        case "empty":
            content.clear()
        case "gone":
            path.unlink()
            return
    path.write_bytes(content)


def checkpoint_damaged(world: World) -> None:
    world.down()
    there = world.checkpoints()
    if not there:
        return
    _hurt(world, world.draw.choice(sorted(there[-1].iterdir())))
    if len(there) == 1 and not world.is_done():
        # said, and nothing is trained on it; the way out is the one that is named
        world.start()
        world.wait_until_over()
        ended = world.history().ended
        if ended is not None and ended.outcome != "done" and "is whole" in ended.message:
            shutil.rmtree(world.run.checkpoints(world.stage))


def write_interrupted(world: World) -> None:
    """What a machine that went down within a write leaves."""
    world.down()
    folder = world.run.checkpoints(world.stage)
    partial = folder / f".step_{world.draw.randrange(50):06d}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    (partial / "model.safetensors").write_bytes(os.urandom(1000))
    (world.run.path / "runner.json.tmp").write_bytes(b"{")


def events_damaged(world: World) -> None:
    world.down()
    world.events_hurt_at = max(world.events_hurt_at, world.reached())
    path = world.run.events_file
    content = bytearray(path.read_bytes())
    at = world.draw.randrange(len(content))
    match world.draw.choice(("torn", "flip", "nul", "noise", "long")):
        case "torn":
            del content[max(at, len(content) - 200) :]
        case "flip":
            content[at] ^= 1 << world.draw.randrange(8)
        case "nul":
            content[at : at + 300] = bytes(len(content[at : at + 300]))
        case "noise":
            content[at:at] = os.urandom(300)
        case "long":
            content += b'{"kind":"step","stage":"' + b"x" * 100_000 + b"\n"
    path.write_bytes(content)


def tokens_damaged(world: World) -> None:
    world.down()
    folder = world.run.path / "tokens"
    if folder.is_dir():
        _hurt(world, world.draw.choice(sorted(folder.iterdir())))


def tokenizer_damaged(world: World) -> None:
    """It cannot be made again without another one coming out: refused until the old one is back."""
    world.down()
    if world.is_done():
        return
    [file] = [path for path in world.run.tokenizer.iterdir() if path.is_file()]
    content = file.read_bytes()
    _hurt(world, file)
    world.start()
    world.wait_until_over()
    if not world.is_done() and "tokenizer" not in world.history().ended.message:  # type: ignore[union-attr]
        raise AssertionError(world.history().ended)
    file.write_bytes(content)


def configuration_damaged(world: World) -> None:
    """Refused, or told of: a copy of the run shows which, and nothing goes on unsaid."""
    world.down()
    copy = RunDirectory(world.run.path.with_name(world.run.name + "-copy"))
    shutil.copytree(world.run.path, copy.path)
    before = copy.config()
    _hurt(world, copy.config_file)
    try:
        with contextlib.suppress(NanosoloError):
            after = copy.config()
            if after != before and world.checkpoints() and not world.is_done():
                resume_run(copy)
                world.wait_until(lambda: _is_told(copy) or not copy.is_running(), "a word about the configuration")
                ended = read_history(copy.events_file).ended
                if not _is_told(copy) and (ended is None or ended.outcome == "done"):
                    raise AssertionError("another configuration went on without a word")
    finally:
        with contextlib.suppress(NanosoloError):
            control.stop_run(copy, now=True)
        world.wait_until(lambda: not copy.is_running(), "the end of the copy")
        shutil.rmtree(copy.path)


def _is_told(run: RunDirectory) -> bool:
    return any(warning.code == "config_changed" for warning in read_history(run.events_file).warnings)


def process_id_reused(world: World) -> None:
    """After a reboot another process has the runner's number."""
    world.down()
    me = psutil.Process()
    stale = {"pid": me.pid, "started": me.create_time(), "host": os.uname().nodename}
    world.run.runner_file.write_text(json.dumps(stale))
    if world.run.is_running() or world.runner() is not None:
        raise AssertionError("another process is taken for the runner")


def clock_jumps(world: World) -> None:
    world.down()
    for jump in (-YEAR, YEAR, -20 * YEAR):
        with world.run.events_file.open("ab") as file:
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
