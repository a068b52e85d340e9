"""Draw every screen of the console as SVG, from generated runs: python docs/screenshots.py [FOLDER]."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from engine.events.kinds import Step, encode  # noqa: E402
from engine.events.log import read_events  # noqa: E402
from engine.hardware.gpu_catalog import by_id, cpu  # noqa: E402
from engine.run.directory import RunDirectory, RunnerInfo  # noqa: E402
from tests.helpers.made_run import Story, story_of, write_run  # noqa: E402
from tui.app import NanosoloApp  # noqa: E402
from tui.chat import model_picker, worker_client  # noqa: E402
from tui.planning.choices import Here  # noqa: E402
from tui.screens.chat import chat_screen  # noqa: E402

GIB = 2**30
SIZES = {"": (120, 40), "-small": (80, 24)}
# name -> (the watched run, the keys that open the screen)
SCREENS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "plan": (None, ()),
    "plan-edit": (None, ("down", "down", "down", "down", "enter", "6", "4")),
    "budget": (None, ("b", "1", "2", "enter", "down")),
    "review": (None, ("L",)),
    "monitor": ("balanced-today", ()),
    "runs": ("balanced-today", ("4",)),
    "compare": ("balanced-today", ("4", "space", "down", "space", "v")),
    "logs": ("balanced-today", ("6",)),
    "chat": ("lower-rate", ("7", "escape", "v", "G", "enter", "i", "say 0", "enter", "say 1", "enter")),
    "oom-doctor": ("too-large", ()),
    "help": (None, ("question_mark",)),
}


LIST, SUM = "What does it mean that a list is mutable?", "A crate holds 12 * 7 apples. How many is that?"
ANSWERS = {
    LIST: {
        "sft": [
            [
                "text",
                "It can be changed after it was made: items can be added, replaced and removed, and every name for the "
                "list sees the change. A tuple is the opposite. It keeps the items it was made with.",
            ]
        ],
        "pretrain": [
            [
                "text",
                " And why should it matter? These are questions that every beginner asks, and the answer is simpler "
                "than it seems. In this chapter we will look at lists, tuples and dictionaries, and at what happens "
                "when one of them is passed to a function.",
            ]
        ],
    },
    SUM: {
        "sft": [["python", "12 * 7"], ["python_output", "84"], ["text", "There are 84 apples in the crate."]],
        "pretrain": [
            ["text", " The farmer has 5 crates, and each of them weighs 20 kg. How much do they weigh together?"]
        ],
    },
}


class Slower(Story):
    """A run whose loss falls more slowly with each step."""

    def loss_at(self, step: int) -> float:
        return super().loss_at(int(0.86 * step)) + 0.02


def tell_runs(home: Path) -> dict[str, RunDirectory]:
    """Three runs: one that trains, one that is finished, one that ran out of memory."""
    now = time.time()
    slower = story_of("lower-rate", now, optim__matrix_lr=0.01, budget__steps=4000)
    slower.__class__ = Slower
    slower.random.seed(11)
    stories: dict[str, Story] = {
        "lower-rate": slower.steps(4000),
        "too-large": story_of("too-large", now, batch__device_batch_size=32).steps(40).out_of_memory(),
        "balanced-today": story_of("balanced-today", now, budget__steps=4000).steps(2730),
    }
    stories["lower-rate"].end_stage("pretrain").end()
    ages = {"lower-rate": 90_000.0, "too-large": 40_000.0, "balanced-today": 0.4}
    runs = {}
    for name, story in stories.items():
        runs[name] = write_run(home, name, story.until(now - ages[name]))
        os.utime(runs[name].config_file, (story.events[0].t, story.events[0].t))
        steps = [event for event in story.events if isinstance(event, Step)][-50:]
        lines = (f"step {e.step:05d} | loss {e.loss:.4f} | {e.tokens_per_second:,.0f} tokens/s" for e in steps)
        runs[name].log_file.write_text("\n".join(["torch 2.13.0, CUDA 13.0, NVIDIA A100-SXM4-40GB", *lines]) + "\n")
    return runs


def let_it_talk(run: RunDirectory, parameters: int) -> None:
    """Give a run checkpoints, and let tests/helpers/fake_worker.py answer for its models."""
    for stage, step in (("pretrain", 4000), ("sft", 509)):
        folder = run.checkpoints(stage) / f"step_{step:06d}"
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - 90_000,) * 2)
    os.environ.update(FAKE_ANSWERS=json.dumps(ANSWERS), FAKE_PARAMETERS=str(parameters), FAKE_SPEED="4")
    worker_client.WORKER = (str(ROOT / "tests" / "helpers" / "fake_worker.py"),)
    look = model_picker.look
    chat_screen.look = lambda: look()._replace(gpu=True, training=())


STAND_IN = """
import fcntl, os, sys, time
lock = os.open(os.path.join(sys.argv[1], "runner.lock"), os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(3600)
"""


@contextlib.contextmanager
def alive(run: RunDirectory, folder: Path) -> Iterator[None]:
    """Replace the run's runner by a process that only holds the lock. A runner is recognized by its command line."""
    package = folder / "stand-in" / "engine"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()  # a namespace package would have lower priority than the real engine
    (package / "__main__.py").write_text(STAND_IN)
    command = (sys.executable, "-m", "engine", str(run.path))
    process = subprocess.Popen(command, cwd=package.parent, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"locked\n"
        info = RunnerInfo(pid=process.pid, started=time.time(), host=socket.gethostname())
        run.runner_file.write_bytes(msgspec.json.encode(info))
        yield
    finally:
        process.kill()
        process.wait()


def freshen(run: RunDirectory) -> None:
    """Move the times of a run's events so that the last one is now."""
    events = list(read_events(run.events_file))
    by = time.time() - events[-1].t
    run.events_file.write_bytes(b"".join(encode(msgspec.structs.replace(event, t=event.t + by)) for event in events))


def small(svg: str) -> str:
    """Reduce the picture to half its size: short names, no external fonts, spaces that every viewer keeps."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"terminal-\d+-", "t", svg)
    svg = re.sub(r' clip-path="url\(#tline-\d+\)"', "", svg)
    svg = re.sub(r'<clipPath id="tline-\d+">.*?</clipPath>', "", svg, flags=re.DOTALL)
    svg = svg.replace(' shape-rendering="crispEdges"', "").replace(
        "<style>", "<style>rect { shape-rendering: crispEdges }"
    )
    svg = re.sub(r"[ \t]*\n\s*", "\n", svg)
    return svg.replace("&#160;", "\xa0").replace("<svg ", '<svg xml:space="preserve" ', 1)


async def draw(folder: Path, runs: dict[str, RunDirectory], only: set[str]) -> None:
    """Save every screen at both sizes."""
    for name, (watched, keys) in SCREENS.items():
        for suffix, size in SIZES.items():
            if only and name not in only:
                continue
            freshen(runs["balanced-today"])
            app = NanosoloApp(watch=runs[watched] if watched else None)
            async with app.run_test(size=size) as pilot:
                await pilot.pause(0.4)
                for key in keys:
                    if key.startswith("say "):
                        app.screen.focused.insert(list(ANSWERS)[int(key[4:])])  # type: ignore[union-attr]
                    else:
                        await pilot.press(key)
                    await pilot.pause(0.6 if name == "chat" else 0.2)
                await pilot.pause(1.2)
                path = folder / f"{name}{suffix}.svg"
                path.write_text(small(app.export_screenshot(title="nanosolo")), encoding="utf-8")
                print(path)


def main() -> None:
    """Create the home, generate the runs, draw."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "screens"
    folder.mkdir(parents=True, exist_ok=True)
    gpu = by_id("a100-40gb")
    here = Here(gpu, cpu(16, 125 * GIB, "AMD EPYC 7J13"), {})
    Here.look = classmethod(lambda cls: here)  # type: ignore[assignment, method-assign]
    home = Path(tempfile.gettempdir()) / "nanosolo"  # the pictures show it, so it needs a fixed name
    home.mkdir()
    try:
        os.environ.update(NANOSOLO_HOME=str(home), NANOSOLO_CONFIG=str(home / "config.toml"), COLORTERM="truecolor")
        os.environ.pop("NO_COLOR", None)
        runs = tell_runs(home)
        let_it_talk(runs["lower-rate"], 252_313_600)
        with alive(runs["balanced-today"], home):
            asyncio.run(draw(folder, runs, set(sys.argv[2:])))
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
