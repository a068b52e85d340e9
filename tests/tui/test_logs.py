"""The Logs screen and the file behind it: huge, growing, torn and binary files, search, errors only."""

import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.run.directory import RunDirectory
from tests.helpers.console_home import use_home
from tests.helpers.run_screens import console_on, put, shows, stopped, until
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.runs.log_file import BLOCK, ERRORS, LogFile, shown
from tui.screens.logs import LogsScreen


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> RunDirectory:
    (run,) = put(home, ("red", stopped("red", 20)))
    lines = [f"step {i} loss {3 + i / 7:.3f}" if i % 100 else f"WARNING: something at {i}" for i in range(3000)]
    run.log_file.write_text("\n".join([*lines, "Traceback (most recent call last):", "\x1b[31merror: gone\x1b[0m", ""]))
    return run


def logs_of(app: object) -> LogsScreen:
    screen = app.screen  # type: ignore[attr-defined]
    assert isinstance(screen, LogsScreen)
    return screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_it_opens_at_the_end(run: RunDirectory, size: tuple[int, int]) -> None:
    app = console_on(run)
    async with app.run_test(size=size) as pilot:
        await pilot.press("6")
        await shows(pilot, "3,002 lines", "error: gone", "following")
        await matches_snapshot(pilot, f"logs-{size[0]}x{size[1]}")


async def test_moving_about(run: RunDirectory) -> None:
    app = console_on(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        await shows(pilot, "error: gone")
        screen = logs_of(app)
        await pilot.press("g")
        await shows(pilot, "WARNING: something at 0")
        assert screen.top == 0 and not screen.following
        await pilot.press("j", "j", "k", "pagedown", "pageup", "down", "up")
        assert screen.top == 1
        await pilot.press("right")
        await pilot.pause()
        assert "from column 17" in text_of(app)
        await pilot.press("left", "G")
        await shows(pilot, "error: gone")
        assert screen.following
        await pilot.press("f", "k")
        assert not screen.following
        await pilot.press("k", "k", "k")
        with run.log_file.open("a") as file:
            file.write("one more\n")
        await shows(pilot, "3,003 lines")
        assert "one more" not in text_of(app)
        await pilot.press("f")
        await shows(pilot, "one more")


async def test_search_goes_on_and_around(run: RunDirectory) -> None:
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("6", "g")
        await shows(pilot, "step 1 ")
        await pilot.press("slash", *"something AT 12", "enter")
        await shows(pilot, "▸ WARNING: something at 1200")
        screen = logs_of(app)
        assert screen.hit == 1200
        await pilot.press("slash", *"something", "enter")
        await until(pilot, lambda: screen.needle.endswith("something") and screen.hit is not None)
        first = screen.hit
        assert first is not None
        await pilot.press("n")
        await until(pilot, lambda: screen.hit == first + 100)
        await pilot.press("N")
        await until(pilot, lambda: screen.hit == first)
        await pilot.press("slash", "ctrl+u", *"nowhere", "enter")
        await shows(pilot, "No match for nowhere")
        await pilot.press("slash", "escape")
        await pilot.pause()
        assert isinstance(app.screen, LogsScreen)


async def test_errors_only(run: RunDirectory) -> None:
    app = console_on(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        await shows(pilot, "error: gone")
        await pilot.press("e")
        await shows(pilot, "32 error and warning lines", "something at 2900", "Traceback")
        assert "loss" not in text_of(app)
        await pilot.press("e")
        await shows(pilot, "3,002 lines")


async def test_looking_at_errors_reads_nothing_on_the_event_loop(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    find_errors = LogFile.find_errors

    def seen(log: LogFile) -> None:
        threads.append(threading.current_thread())
        find_errors(log)

    monkeypatch.setattr(LogFile, "find_errors", seen)
    app = console_on(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        await shows(pilot, "error: gone")
        await pilot.press("e", "k", "k", "g")
        await shows(pilot, "32 error and warning lines")
    assert threads and threading.main_thread() not in threads


async def test_copy(run: RunDirectory, home: Path) -> None:
    app = console_on(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("6", "g")
        await shows(pilot, "step 1 ")
        await pilot.press("y")
        await shows(pilot, "Copied")
    assert (home / "log.txt").read_text().startswith("WARNING: something at 0\nstep 1 loss")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_run_and_no_log(home: Path, size: tuple[int, int]) -> None:
    app = console_on(None)
    async with app.run_test(size=size) as pilot:
        await pilot.press("6")
        await shows(pilot, "No run is selected.")
        await matches_snapshot(pilot, f"logs-nothing-{size[0]}x{size[1]}")
        await pilot.press("g", "G", "j", "k", "n", "N", "e", "f", "y", "right")
    (run,) = put(home, ("red", stopped("red", 3)))
    begun = run.events_file.read_bytes()
    run.events_file.write_bytes(begun.partition(b"\n")[0] + b"\n")  # no stage was started
    app = console_on(run)
    async with app.run_test(size=size) as pilot:
        await pilot.press("6")
        await shows(pilot, "This run has no log yet.")
        run.events_file.write_bytes(begun)
        run.log_file.write_text("hello\n")
        await shows(pilot, "hello")
        run.log_file.unlink()
        await shows(pilot, "The log of this run is missing")


# the file

LINES = st.lists(
    st.one_of(
        st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b" ")),
        st.sampled_from((b"", b"error: x", b"a fatal thing", b"x" * (BLOCK // 3))),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(LINES, st.booleans(), st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=8), st.data())
def test_lines_are_those_of_the_file(lines: list[bytes], closed: bool, pieces: list[int], data: st.DataObject) -> None:
    raw = b"\n".join(lines) + (b"\n" if closed and lines else b"")
    expected = raw.split(b"\n")[: -1 if raw.endswith(b"\n") or not raw else None]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.log"
        file, written, turn = LogFile(path), 0, 0
        while written < len(raw):
            size = pieces[turn % len(pieces)]
            with path.open("ab") as out:
                out.write(raw[written : written + size])
            written, turn = written + size, turn + 1
            assert file.update()
        assert file.line_count == len(expected)
        first = data.draw(st.integers(0, max(0, len(expected))))
        count = data.draw(st.integers(0, 12))
        assert file.lines(first, count) == [shown(line) for line in expected[first : first + count]]
        whole = expected if raw.endswith(b"\n") else expected[:-1]
        file.find_errors()
        assert file.searched
        assert list(file.errors) == [i for i, line in enumerate(whole) if ERRORS.search(line)]
        at = data.draw(st.integers(0, max(0, len(expected) - 1)))
        hits = [i for i, line in enumerate(expected) if b"fatal" in line.lower()]
        assert file.find("Fatal", at) == next((i for i in hits if i > at), None)
        assert file.find("fatal", at, forward=False) == next((i for i in reversed(hits) if i < at), None)


def test_a_file_cut_short_or_replaced_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("a\nb\nc\n")
    file = LogFile(path)
    assert file.update() and file.line_count == 3 and not file.update()
    path.write_text("x\n")
    assert file.update() and file.lines(0, 5) == ["x"] and file.generation == 1
    path.unlink()
    assert file.update() and file.line_count == 0 and file.lines(0, 5) == []


def test_a_file_that_goes_while_it_is_read_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("error\n" * 1000)
    file = LogFile(path)
    file.update()
    path.unlink()
    file.find_errors()
    assert len(file.errors) == 0 and not file.searched and file.lines(0, 3) == []
    path.mkdir()  # which is there, and cannot be read
    assert file.update() and file.line_count == 0 and file.searched


def test_only_what_a_terminal_would_leave_is_shown() -> None:
    assert shown(b"\x1b[31mred\x1b[0m") == "red"
    assert shown(b" 10%|#\r 90%|#########\r") == " 90%|#########"
    assert shown(b"\x1b]0;title\x07name") == "name"
    assert shown(b"bell\x07 \xff") == "bell· \ufffd"
    assert shown(b"a\tb") == "a       b"


def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(b"x" * (5 << 20) + b"\nend\n")
    file = LogFile(path)
    file.update()
    assert file.line_count == 2
    assert len(file.lines(0, 2)[0]) == 8192
    assert file.lines(1, 1) == ["end"]


def test_memory_does_not_grow_with_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(b"line\n" * 400_000)
    file = LogFile(path)
    file.update()
    assert file.line_count == 400_000
    assert len(file._before) < 40
    assert file.lines(399_998, 5) == ["line", "line"]
