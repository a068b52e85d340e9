"""The dialog Stages on Runs and Monitor, and the checklist of the Plan screen, at the size of a small terminal."""

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
from tui.widgets.checklist_dialog import ChecklistDialog

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
        await shows(pilot, "Stages of red", "Select the stages to run", "not in the pipeline")
        await pilot.press("enter")
        assert isinstance(app.screen, ChecklistDialog)  # with nothing selected, nothing starts
        await pilot.press("j", "j", "j", "space")
        await shows(pilot, "restart: pretrain", "checkpoints/pretrain.1 (3 MiB)", "evaluate, report")
        await shows(pilot, "[x] pretrain      done, 30 m 02 s", "[ ] rl            not run, not in the pipeline")
        await pilot.press("escape", "4", "R")
        await shows(pilot, "Stages of red")
        await pilot.press("G", "k", "space")
        await until(pilot, lambda: "restart: " not in text_of(app))
        await pilot.press("enter")  # it asks for a card that is not here
        await shows(pilot, "Error")
    assert not (run.path / "runner.json").exists()
    assert read_history(run.events_file).requests.requested == ()


async def test_what_a_stage_lacks_is_said_before_it_can_be_run(home: Path) -> None:
    put(home, ("rest", stopped()))
    app = console_on(None)
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        await pilot.press("4")
        await shows(pilot, "stopped")
        await pilot.press("R")
        await shows(pilot, "Stages of rest", "incomplete, at step 300 of 19,101")
        screen = app.screen
        assert isinstance(screen, ChecklistDialog)
        assert screen.selected[0] == "pretrain"  # the remaining stages are selected
        for _ in screen.selected:
            await pilot.press("j")
        await until(pilot, lambda: "tokens of tokenize, which has no result yet" in text_of(app))
        await pilot.press("enter")
        assert app.screen is screen


async def test_a_running_run_is_left_alone(home: Path, tmp_path: Path) -> None:
    (live,) = put(home, ("live", story_of("live", time.time()).until(time.time())))
    with FakeRunner(live, tmp_path):
        app = console_on(live)
        async with app.run_test(size=SMALL, notifications=True) as pilot:
            await shows(pilot, "running")
            await pilot.press("R")
            await shows(pilot, "live is running. Stop it (x)")


async def test_stages_are_selected_on_the_plan_screen() -> None:
    app = console_on(None)
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        screen = app.screen
        assert isinstance(screen, PlanScreen)
        screen.query_one(KnobList).choose("pipeline.stages")
        await pilot.press("enter")
        await shows(pilot, "[ ] rl            reinforcement learning", "[x] report")
        await pilot.press("G", "k", "k", "space", "enter")
        await pilot.pause()
        assert "rl" in screen.draft.config.pipeline.stages
        assert screen.draft.config.pipeline.stages.index("rl") == 6
        await pilot.press("enter", "j", "j", "j", "space")
        await shows(pilot, "evaluate measures the model of pretrain. Select pretrain as well")
        await pilot.press("enter")
        assert isinstance(app.screen, ChecklistDialog)
        await pilot.press("escape")
        await pilot.pause()
        assert "pretrain" in screen.draft.config.pipeline.stages
        await pilot.press("u")
        await pilot.pause()
        assert "rl" not in screen.draft.config.pipeline.stages


def test_every_stage_has_a_note() -> None:
    assert tuple(NOTES) == STAGES
