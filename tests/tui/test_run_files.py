"""What there is to take away from a run: the paths of its report and the commands for its model, to be copied."""

import shlex
from pathlib import Path

import pytest

from tests.helpers.console_home import use_home
from tests.helpers.run_screens import console_on, finished, put, shows, until
from tests.helpers.snapshot import text_of
from tui.cli.parser import build_parser
from tui.screens.run_files import RunFiles, choices_of


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("screen", ["3", "4"])
async def test_the_report_and_the_export_are_found_and_copied(home: Path, screen: str) -> None:
    (run,) = put(home, ("red", finished()))
    run.page_file.write_text("a page")
    app = console_on(run)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.press(screen)
        await shows(pilot, "red", "e report")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, RunFiles))
        await shows(pilot, "Report (text)    not written yet", "nanosolo export red --to hf red-hf")
        assert text_of(app).count("not written yet") == 1
        await pilot.press("y")
        await shows(pilot, "Copied")
        assert (home / "copied.txt").read_text() == f"{run.page_file}\n"
        await pilot.press("down", "down", "down", "enter")
        await until(pilot, lambda: (home / "copied.txt").read_text() == "nanosolo export red --to hf red-hf\n")
        assert isinstance(app.screen, RunFiles)  # there may be more to copy
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, RunFiles))


def test_every_command_is_one_that_the_program_understands(home: Path) -> None:
    (run,) = put(home, ("red", finished()))
    commands = [shlex.split(text)[1:] for text in choices_of(run)[0].values() if text.startswith("nanosolo ")]
    assert [words[0] for words in commands] == ["report", "export", "export"]
    for words in commands:
        assert build_parser().parse_args(words).run == "red"
