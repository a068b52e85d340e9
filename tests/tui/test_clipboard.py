"""Copying: to the terminal in any case, to a file where there is room for one."""

from pathlib import Path

import pytest

from tests.helpers.console_home import console, use_home
from tests.helpers.run_screens import shows


@pytest.mark.parametrize("keys", [("L", "y"), ("5", "y")], ids=["review", "compare"])
async def test_text_is_copied_also_where_no_file_can_be_written(
    keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_home(monkeypatch, tmp_path / "home")
    (tmp_path / "file").touch()
    app = console()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.press(keys[0])
        await pilot.pause()
        monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path / "file"))
        await pilot.press(keys[1])
        await shows(pilot, "not to a file: cannot write")
        assert app.clipboard
