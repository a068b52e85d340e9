"""What tests of screens with runs share: homes with runs, and waiting for results of threads."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from engine.run.directory import RunDirectory
from tests.helpers.made_run import Story, story_of, write_run
from tests.helpers.snapshot import text_of
from tui.app import NanosoloApp

PATIENCE = 20.0
STAGES = ["data", "tokenizer", "tokenize", "pretrain", "evaluate", "report"]
SIZES = ((80, 24), (120, 40), (200, 60))


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    """Wait until it is true. Raises AssertionError with the screen if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, text_of(pilot.app)
        await pilot.pause(0.02)
    await pilot.pause()


async def shows(pilot: Pilot[None], *texts: str) -> None:
    """Wait until all texts are on the screen."""
    await until(pilot, lambda: all(text in text_of(pilot.app) for text in texts))


def finished(
    name: str = "red", preset: str = "conservative", steps: int = 600, end: bool = True, **changes: object
) -> Story:
    """A finished run, or without `end` one that has more stages to run."""
    # one micro-batch per step: no advice then depends on the predicted memory of larger ones, which may change
    changes = {"batch__device_batch_size": 128, "pipeline__stages": STAGES, **changes}
    story = story_of(name, time.time(), preset, budget__steps=steps, evaluate__every_steps=100, **changes)
    story.steps(steps).evaluate().end_stage("pretrain").stage("evaluate").end_stage("evaluate")
    if not end:
        return story
    return story.stage("report").end_stage("report").end().begun(time.time() - 7230)


def out_of_memory(name: str = "full") -> Story:
    return story_of(name, time.time()).steps(60).checkpoint().steps(4).out_of_memory().until(time.time() - 60)


def stopped(name: str = "rest", steps: int = 300) -> Story:
    story = story_of(name, time.time()).steps(steps).checkpoint()
    return story.end_stage("pretrain", "stopped").end("stopped").begun(time.time() - 86_430)


def put(home: Path, *stories: tuple[str, Story]) -> list[RunDirectory]:
    """Run directories in the given order, oldest first."""
    runs = []
    for i, (name, story) in enumerate(stories):
        run = write_run(home, name, story)
        moment = time.time() - 1000 + i  # list_runs sorts by the age of run.toml
        os.utime(run.config_file, (moment, moment))
        runs.append(run)
    return runs


def console_on(run: RunDirectory | None) -> NanosoloApp:
    return NanosoloApp(watch=run)
