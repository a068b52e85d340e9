"""The dialog Stages on Runs and Monitor, and the tick list of the Plan screen, at the size of a small terminal."""

import time
from pathlib import Path

import pytest

from engine.config.stages import STAGES
from engine.events.history import read_history
from engine.run.directory import RunDirectory
from tests.helpers.console_home import use_home
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.made_run import story_of
from tests.helpers.run_screens import console_on, finished, put, shows, stopped, until
from tests.helpers.snapshot import text_of
from tui.screens.plan.plan_screen import PlanScreen
from tui.screens.plan.settings_list import KnobList
from tui.screens.plan.stage_picker import NOTES
from tui.widgets.checklist_dialog import TickDialog

SMALL = (80, 24)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


def leave_results(run: RunDirectory) -> None:
    """What a run that trained for real has on disk."""
    (run.checkpoints("pretrain") / "step_000600").mkdir(parents=True)
    (run.checkpoints("pretrain") / "step_000600" / "model.safetensors").write_bytes(bytes(3 * 2**20))
    run.tokenizer.mkdir()
    run.tokens_file.write_text("{}")


async def test_stages_of_a_finished_run(home: Path) -> None:
    (run,) = put(home, ("red", finished()))
    leave_results(run)
    app = console_on(run)
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "finished, 600 steps")
        await pilot.press("R")
        await shows(pilot, "Stages of red", "Tick the stages to run", "not in the pipeline")
        await pilot.press("enter")
        assert isinstance(app.screen, TickDialog)  # with nothing ticked, nothing starts
        await pilot.press("j", "j", "j", "space")
        await shows(pilot, "from the beginning: pretrain", "checkpoints/pretrain.1, 3 MiB", "evaluate, report")
        await shows(pilot, "[x] pretrain      done, 30 m 02 s", "[ ] rl            not run, not in the pipeline")
        await pilot.press("escape", "4", "R")
        await shows(pilot, "Stages of red")
        await pilot.press("G", "k", "space")
        await until(pilot, lambda: "from the beginning" not in text_of(app))
        await pilot.press("enter")  # it asks for a card that is not here
        await shows(pilot, "That did not work")
    assert not (run.path / "runner.json").exists()
    assert read_history(run.events_file).requests.requested == ()


async def test_what_a_stage_lacks_is_said_before_it_can_be_run(home: Path) -> None:
    put(home, ("rest", stopped()))
    app = console_on(None)
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        await pilot.press("4")
        await shows(pilot, "stopped")
        await pilot.press("R")
        await shows(pilot, "Stages of rest", "half done, at step 300 of 19,101")
        screen = app.screen
        assert isinstance(screen, TickDialog)
        assert screen.ticked[0] == "pretrain"  # what is left is ticked
        for _ in screen.ticked:
            await pilot.press("j")
        await until(pilot, lambda: "tokens of tokenize, which is not here" in text_of(app))
        await pilot.press("enter")
        assert app.screen is screen


async def test_a_run_at_work_is_left_alone(home: Path, tmp_path: Path) -> None:
    (live,) = put(home, ("live", story_of("live", time.time()).until(time.time())))
    with FakeRunner(live, tmp_path):
        app = console_on(live)
        async with app.run_test(size=SMALL, notifications=True) as pilot:
            await shows(pilot, "running")
            await pilot.press("R")
            await shows(pilot, "live is at work. Stop it first")


async def test_stages_are_ticked_on_the_plan_screen() -> None:
    app = console_on(None)
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        screen = app.screen
        assert isinstance(screen, PlanScreen)
        screen.query_one(KnobList).choose("pipeline.stages")
        await pilot.press("enter")
        await shows(pilot, "[ ] rl            learns from rewards", "[x] report")
        await pilot.press("G", "k", "k", "space", "enter")
        await pilot.pause()
        assert "rl" in screen.draft.config.pipeline.stages
        assert screen.draft.config.pipeline.stages.index("rl") == 6
        await pilot.press("enter", "j", "j", "j", "space")
        await shows(pilot, "evaluate measures the model of pretrain: tick pretrain as well")
        await pilot.press("enter")
        assert isinstance(app.screen, TickDialog)
        await pilot.press("escape")
        await pilot.pause()
        assert "pretrain" in screen.draft.config.pipeline.stages
        await pilot.press("u")
        await pilot.pause()
        assert "rl" not in screen.draft.config.pipeline.stages


def test_every_stage_has_a_note() -> None:
    assert tuple(NOTES) == STAGES
