"""Run directories: names, finding, locks, and telling a living runner from what only looks like one."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.layers import to_toml
from engine.core import paths as homes
from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import require_writable
from engine.run import directory
from engine.run.directory import RunDirectory, RunLock, create_run, find_run, free_name, list_runs, named_run
from tests.helpers.made_run import config_of, plan_of

CONFIG = config_of("balanced")
PLAN = plan_of(CONFIG)

LOOKING = """
from pathlib import Path
from engine.run.directory import RunDirectory
run = RunDirectory(Path({path!r}))
print(sum(run.is_running() for _ in range(20_000)))
"""


def test_a_new_run_holds_what_it_was_asked_and_is_private(home: Path) -> None:
    run = create_run("one", CONFIG, PLAN)
    assert run.config() == CONFIG
    assert run.plan() == PLAN
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
    with pytest.raises(UsageError, match="exists already"):
        create_run("one", CONFIG, PLAN)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", ".hidden", "a b", "é", "x" * 101, "last", "a\n"])
def test_a_name_cannot_leave_the_folder_of_runs(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        create_run(name, CONFIG, PLAN)
    assert not home.exists() or not list(home.rglob("run.toml"))


@given(st.text(max_size=8))
def test_every_name_that_is_taken_is_a_plain_file_name(name: str) -> None:
    try:
        run = named_run(name)
    except UsageError:
        return
    assert run.path.parent.name == "runs"
    assert run.path.name == name == Path(name).name


def test_nothing_is_left_of_a_run_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "plan.json":
            raise NanosoloError("the disk is full")
        path.write_bytes(content)

    monkeypatch.setattr(directory, "write_atomically", full)
    with pytest.raises(NanosoloError, match="full"):
        create_run("one", CONFIG, PLAN)
    assert list((home / "runs").iterdir()) == []


def test_runs_are_found_by_name_by_path_and_as_the_newest(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no runs"):
        find_run("last")
    assert list_runs() == []
    for age, name in enumerate(("c", "a", "b")):
        run = create_run(name, CONFIG, PLAN)
        os.utime(run.config_file, (1000 + age, 1000 + age))
    (home / "runs" / "stray").mkdir()
    (home / "runs" / "file").touch()
    assert [run.name for run in list_runs()] == ["c", "a", "b"]
    assert find_run("last").name == "b"
    assert find_run("a").path == home / "runs" / "a"
    assert find_run(f"{home}/runs/a").name == "a"
    for wrong in ("d", "stray", "/nowhere", "..", "x" * 5000):
        with pytest.raises(UsageError, match=r"no run .* Runs there: c, a, b"):
            find_run(wrong)


def test_a_free_name_is_free(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20260131-1405")
    for name in ("balanced-20260131-1405", "balanced-20260131-1405-2", "balanced-20260131-1405-3"):
        assert free_name("balanced") == name
        create_run(name, CONFIG, PLAN)


def test_a_home_that_cannot_be_written_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(NanosoloError, match=r"cannot write to .*/file/home/runs: Not a directory. Check its perm"):
        create_run("one", CONFIG, PLAN)
    assert list_runs() == []
    assert (tmp_path / "file").read_text() == "mine"
    require_writable(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_the_home_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOSOLO_HOME", "~/here")
    assert homes.home() == Path.home() / "here"
    monkeypatch.delenv("NANOSOLO_HOME")
    assert homes.home().name == "nanosolo"


def test_damaged_files_are_one_clear_line_or_nothing(home: Path) -> None:
    run = create_run("one", CONFIG, PLAN)
    for text in (b"", b"\xff", b"[" * 100_000, b"{}", b"null"):
        run.plan_file.write_bytes(text)
        run.runner_file.write_bytes(text)
        assert run.plan() is None
        assert run.runner() is None
    run.config_file.write_bytes(b"model = 3")
    with pytest.raises(UsageError, match=r"model = 3: expected a table"):
        run.config()


def test_the_lock_is_held_by_one(home: Path) -> None:
    run = create_run("one", CONFIG, PLAN)
    assert not run.is_running()
    with RunLock(run):
        assert run.is_running()
        with pytest.raises(BlockingIOError), RunLock(run):
            pass
        assert run.is_running()
    assert not run.is_running()


def test_two_who_look_do_not_see_each_other(home: Path) -> None:
    run = create_run("one", CONFIG, PLAN)
    with RunLock(run):
        pass
    looking = LOOKING.format(path=str(run.path))
    other = subprocess.Popen((sys.executable, "-c", looking), stdout=subprocess.PIPE, text=True)
    seen = 0
    while other.poll() is None:
        seen += run.is_running()
    assert other.stdout is not None
    assert (seen, other.stdout.read().strip()) == (0, "0")


def test_a_reused_process_id_is_no_runner(home: Path) -> None:
    run = create_run("one", CONFIG, PLAN)
    for pid in (os.getpid(), 1, 2**22 + 1, -1, 2**70):
        run.runner_file.write_text(json.dumps({"pid": pid, "started": time.time(), "host": "here"}))
        assert run.runner() is None


def test_the_same_configuration_is_read_back_from_what_is_written(home: Path) -> None:
    run = create_run("one", CONFIG, PLAN)
    assert run.config_file.read_text() == to_toml(CONFIG)
    assert RunDirectory(run.path).checkpoints("pretrain").is_relative_to(run.path)
