"""The OOM doctor: what it tells, and that Enter changes the run and starts it again."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.core.units import GIB
from engine.events.history import read_history
from engine.events.kinds import OutOfMemory
from engine.hardware.gpu_catalog import cpu
from engine.run.directory import RunDirectory
from tests.helpers.console_home import use_home
from tests.helpers.made_run import Story, config_of, plan_of, write_run
from tests.helpers.run_screens import console_on, out_of_memory, put, shows, until
from tests.helpers.snapshot import text_of
from tui.screens.monitor import MonitorScreen
from tui.screens.oom_doctor import FixList, OomDoctor


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("STAND_IN", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "helpers" / "stand_in"))
    return tmp_path / "home"


@pytest.fixture
def starved(home: Path) -> Iterator[RunDirectory]:
    """A run on this CPU that ended for lack of memory; its stages are stand-ins that do at once what they should."""
    config = config_of("quickstart", pipeline__stages=["pretrain"])
    plan = plan_of(config, cpu(2, 16 * GIB))
    story = Story(plan, config, time.time() - 900).start("small").stage("pretrain").device().steps(20).checkpoint()
    fields = {"phase": "forward and backward", "requested": None, "allocated": 16 * GIB, "capacity": 16 * GIB}
    story.add(OutOfMemory, stage="pretrain", step=20, action="stop", **fields)
    story.end_stage("pretrain", "out_of_memory", message="out of memory").end("out_of_memory", "out of memory")
    run = write_run(home, "small", story)
    (run.path / "behaviour.json").write_text(json.dumps({"pretrain": "train"}))
    yield run
    for process in psutil.process_iter(["cmdline"]):
        if any(str(home) in part for part in process.info["cmdline"] or ()):
            process.kill()


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 16)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_what_it_shows(home: Path, size: tuple[int, int]) -> None:
    (run,) = put(home, ("full", out_of_memory()))
    app = console_on(run)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))
        await shows(pilot, "full ran out of memory", "backward of the loss", "allocating 3.1 GiB")
        text = text_of(app)
        if size[1] >= 24:
            assert "In use: 36.9 GiB of 39.4 GiB" in text
            assert "The run resumes from" in text and "60." in text
            assert "activations   12.0 GiB" in text and "Fixes" in text
            assert "✓ fits" in text and "slower per token" in text
        fixes = app.screen.query_one(FixList)
        assert fixes.chosen == "0"
        assert fixes.region.bottom <= size[1] and fixes.region.height >= 2  # the fixes are on the screen
        await pilot.press("down")
        assert fixes.chosen == "1"
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, MonitorScreen)


async def test_help_opens_over_the_doctor(home: Path) -> None:
    (run,) = put(home, ("full", out_of_memory()))
    app = console_on(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))
        await pilot.press("question_mark")
        await shows(pilot, "Keys · doctor", "Apply this change", "Move down", "Close this dialog", "also from a dialog")
        assert "Watch a run" not in text_of(app)  # the keys of the top row do not go through a dialog
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))


async def test_copy(home: Path) -> None:
    (run,) = put(home, ("full", out_of_memory()))
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))
        await pilot.press("y")
        await shows(pilot, "Copied")
    text = (home / "oom.txt").read_text()
    assert "In use: 36.9 GiB" in text and "--set batch." in text


async def test_enter_applies_and_relaunches_from_the_checkpoint(starved: RunDirectory) -> None:
    before = starved.config()
    app = console_on(starved)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))
        way = app.screen.found.ways[0]  # type: ignore[attr-defined]
        assert not way.changes_model
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen) and starved.is_running())
        await until(pilot, lambda: (starved.path / "pretrain.began").exists())
        await shows(pilot, "running")
        assert starved.config() != before
        assert (starved.path / "run.before-1.toml").exists()
        history = read_history(starved.events_file)
        assert [advice.code for advice in history.advice] == ["relaunched"]
        assert history.started is not None and history.started.resumed
        assert not isinstance(app.screen, OomDoctor)


async def test_a_fix_that_cannot_be_applied_says_why_and_changes_nothing(home: Path) -> None:
    (run,) = put(home, ("full", out_of_memory()))  # it asks for an A100, which is not here
    before = run.config_file.read_bytes()
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))
        await pilot.press("enter")
        await shows(pilot, "Error", "no NVIDIA GPU")
        assert isinstance(app.screen, MonitorScreen)
    assert run.config_file.read_bytes() == before


async def test_without_a_configuration_it_shows_what_it_can(home: Path) -> None:
    (run,) = put(home, ("full", out_of_memory()))
    run.plan_file.unlink()
    run.config_file.write_text("depth = [")
    app = console_on(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OomDoctor))
        await shows(pilot, "No fix is known")
        await pilot.press("enter", "down", "escape")
        await pilot.pause()
        assert isinstance(app.screen, MonitorScreen)
