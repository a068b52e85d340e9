"""The frame: screens by keys, help and palette from the table, remapping, themes, ASCII, NO_COLOR, a quick start."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from textual.content import Content

from engine.core.errors import UsageError
from engine.run.directory import RunDirectory, RunLock
from tests.helpers.console_home import console, press, use_home
from tests.helpers.made_run import story_of, write_run
from tests.helpers.run_screens import shows
from tests.helpers.snapshot import text_of
from tui.app import SCREENS, NanosoloApp, farewell, unlaunched_edits
from tui.cli.commands.configuration import configuration
from tui.cli.parser import build_parser
from tui.keys.bindings import KEYS, Key
from tui.screens.base import TopRow
from tui.screens.plan.plan_screen import PlanScreen
from tui.screens.plan.review import ReviewScreen

FORBIDDEN = ("torch", "numpy", "pyarrow", "matplotlib", "transformers", "tokenizers", "rustbpe", "tiktoken")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("key", [key for key in KEYS if key.id.startswith("go.")], ids=lambda key: key.id)
async def test_each_screen_opens_by_its_key_and_escape_goes_back(key: Key) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(key.keys)
        await pilot.pause()
        assert key.id.removeprefix("go.") == app.screen.MODE  # type: ignore[attr-defined]
        assert lit(app) == f"{key.keys} {key.label}"
        await pilot.press("escape")
        await pilot.pause()
        assert app.current_mode == "plan"


def test_the_tabs_are_numbered_without_a_gap() -> None:
    assert [key.keys for key in KEYS if key.id.startswith("go.")] == list("1234567")


async def test_2_reviews_what_plan_holds_from_anywhere_and_escape_leads_back() -> None:
    app = console(watch=RunDirectory(Path("none")))  # Plan was not shown yet
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2")
        assert isinstance(app.screen, ReviewScreen) and lit(app) == "2 Review"
        await press(pilot, "escape")
        assert app.current_mode == "monitor" and lit(app) == "3 Monitor"
        await press(pilot, "1", "down", "down", "right", "4", "2")
        assert isinstance(app.screen, ReviewScreen) and app.screen.draft.edits == {"model.depth": 6}
        await press(pilot, "2")
        assert len(app.screen_stack) == 2  # not one over the other
        await press(pilot, "6")
        assert app.current_mode == "logs"
        await press(pilot, "1")
        assert isinstance(app.screen, PlanScreen) and lit(app) == "1 Plan"
        await press(pilot, "L", "escape")
        assert isinstance(app.screen, PlanScreen)


def lit(app: NanosoloApp) -> str:
    """The tab of the top row that stands out."""
    row = app.screen.query_one(TopRow).render()
    assert isinstance(row, Content)
    return next(row.plain[span.start : span.end].strip() for span in row.spans if "on $background" in str(span.style))


async def test_what_the_screen_is_about_keeps_its_end_where_there_is_little_room() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        app.screen.query_one(TopRow).about = "quickstart-20261123-0728"
        await pilot.pause()
        assert text_of(app).splitlines()[0].rstrip().endswith("3-0728")


async def test_escape_goes_back_through_all_that_was_visited() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        seen = []
        for key in ("4", "6", "4"):
            await pilot.press(key)
            await pilot.pause()
        for _ in range(4):
            seen.append(app.current_mode)
            await pilot.press("escape")
            await pilot.pause()
        assert seen == ["runs", "logs", "plan", "plan"]


async def test_faults_of_the_settings_are_shown_and_not_fatal(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    use_home(monkeypatch, home, 'theme = "[nanosolo-drak]"\n')
    app = console()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await shows(pilot, "[nanosolo-drak]", "Did you mean")
        assert isinstance(app.screen, PlanScreen)


async def test_q_leaves() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0


@pytest.mark.parametrize("opens", ["p", "question_mark", "E"])
async def test_q_closes_a_dialog_and_types_where_one_types(opens: str) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(opens)
        await pilot.pause()
        assert len(app.screen_stack) == 2
        await pilot.press("q")
        await pilot.pause()
        assert len(app.screen_stack) == (2 if opens == "E" else 1)
        assert app.return_code is None


@pytest.mark.parametrize("keys", [["p"], ["question_mark"], ["E"], ["colon"], ["down", "down", "enter"], ["L", "n"]])
async def test_ctrl_q_leaves_from_anywhere(keys: list[str]) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        await pilot.press("ctrl+q")
        await pilot.pause()
    assert app.return_code == 0


async def test_an_error_of_the_user_is_shown_as_it_is_written() -> None:
    app = console()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        app.tell_error(UsageError("data.paths = [red]/tmp/[x].txt: no such file"))
        await shows(pilot, "[red]/tmp/[x].txt")


def test_the_farewell_names_what_goes_on_and_the_way_back(home: Path) -> None:
    assert farewell() == []
    story = story_of("demo", 1_700_000_000.0).start("demo")
    run: RunDirectory = write_run(home, "demo", story)
    with RunLock(run):
        lines = farewell()
    assert lines[0].startswith("demo continues training without the console")
    assert lines[2:] == [
        "  nanosolo               open the console",
        "  nanosolo attach demo   follow as text",
        "  nanosolo stop demo     stop after a checkpoint",
    ]


async def test_edits_that_were_not_launched_are_told_as_a_command_on_leaving() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert unlaunched_edits(app.draft, app.settled) == []  # nothing was edited
        await pilot.press("down", "down", "right", "q")
        await pilot.pause()
    line = unlaunched_edits(app.draft, app.settled)[-1]
    words = shlex.split(line)
    assert words[:3] == ["nanosolo", "--preset", "quickstart"] and "model.depth=6" in words
    assert app.draft is not None
    assert configuration(build_parser().parse_args(words[1:])).config == app.draft.config


@pytest.mark.parametrize("keys", [["E", "enter"], ["s", *"mine", "enter"], ["u"]], ids=["exported", "saved", "undone"])
async def test_what_was_kept_or_taken_back_is_not_told_on_leaving(
    keys: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "down", "right")
        await pilot.pause()
        assert unlaunched_edits(app.draft, app.settled)
        await pilot.press(*keys)
        await pilot.pause()
        assert unlaunched_edits(app.draft, app.settled) == []


def test_the_console_imports_nothing_heavy_and_no_screen_before_it_is_shown(home: Path) -> None:
    code = f"""
import asyncio, sys
from tui.app import NanosoloApp
async def main():
    app = NanosoloApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.current_mode == "plan"
        assert "tui.screens.compare" not in sys.modules and "tui.screens.plan.review" not in sys.modules
        for mode in {list(SCREENS)!r}:
            app.action_go(mode)
            await pilot.pause()
    print([name for name in {FORBIDDEN!r} if name in sys.modules])
asyncio.run(main())
"""
    environment = {**os.environ, "NANOSOLO_HOME": str(home)}
    done = subprocess.run((sys.executable, "-c", code), env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
