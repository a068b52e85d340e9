"""Every mistake is one line on standard error that says what to do, with the right exit code, and changes nothing."""

import shlex
import sys
import time
from pathlib import Path

import pexpect
import pytest

from engine.plan.presets import preset_names
from tests.helpers.command_line import in_a_mount, nanosolo
from tests.helpers.made_run import story_of, write_run
from tui.cli.main import main

WAYS_OUT = ("See: nanosolo", "nanosolo --preset", ", for example ")


def assert_refused(home: Path, *arguments: str, code: int = 2, says: str, **more: str) -> None:
    done = nanosolo(home, *arguments, **more)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert lines[0].endswith((".", "?")) or any(way in lines[0] for way in WAYS_OUT), lines[0]
    assert done.returncode == code
    assert not (home / "runs").exists() or not list((home / "runs").iterdir())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[model\ndepth = 3", "is not valid TOML"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[model]\ndepht = 12", "model.depht = 12: unknown key. Did you mean model.depth?"),
        (b"[modle]\ndepth = 12", "[modle]: unknown section. Did you mean model?"),
        (b"x = " + b"[" * 5000, "it is nested too deeply"),
        (b"depth = 12", "depth = 12: unknown key. Did you mean model.depth?"),
        (b"[model]\ndepth = 0", "model.depth = 0: expected a whole number (1–128)"),
        (b"[model]\ndepth = 'twelve'", 'model.depth = "twelve": expected a whole number'),
        (b"[batch]\ntotal_batch_size = 64", "less than one micro-batch, "),
        (b"[data]\nsource = 'web'", 'data.source = "web": expected one of builtin, local, fineweb-edu'),
        (b"[data]\nsource = 'local'", "needs a folder, file or glob"),
        (b"[optim]\nmatrix_lr = nan", "optim.matrix_lr = nan: expected"),
        (b"[pipeline]\nstages = ['data', 'data']", "a stage is named twice"),
        (b"[runtime]\ngpu = 'a100'", "not in the catalogue. Did you mean a100-80gb?"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    toml = tmp_path / "my.toml"
    toml.write_bytes(content)
    assert_refused(tmp_path / "home", "--config", str(toml), says=says)
    assert toml.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "/nowhere/x.toml"], "cannot read /nowhere/x.toml: No such file"),
        (["--config", "/"], "cannot read /: Is a directory"),
        (["--preset", "ballanced"], "no such preset. Did you mean balanced?"),
        (["--preset", "quickstart", "--set", "model.depth"], "expected section.key=value"),
        (["--preset", "quickstart", "--set", "depth=3"], "expected section.key=value"),
        (["--preset", "quickstart", "--price", "cheap"], "--price cheap: expected a number"),
        (["--preset", "quickstart", "--name", "../up"], "--name ../up: use letters"),
        (["--preset", "quickstart", "--name", "../up", "--resume"], "--name ../up: use letters"),
        (["--preset", "quickstart", "--resume"], "--resume: name the run"),
        (["--preset", "balanced", "--gpu", "a100-40gb"], "no NVIDIA GPU is visible here"),
        (["--preset", "quickstart", "--every", "0"], "expected a whole number, 1 or more"),
        (["plan"], "Use --preset or --config"),
        (["--preset", "quickstart", "plan"], "options go after the command: nanosolo plan --preset"),
        (["fly"], "invalid choice: 'fly'"),
        (["plna"], "invalid choice: 'plna'. Did you mean plan?"),
        (["chat", "--device", "cdua"], "invalid choice: 'cdua'. Did you mean cuda?"),
        (["chat", "--serve", "--prompt", "Hi"], "--prompt and --serve cannot be combined"),
        (["--wings"], "unrecognized arguments: --wings"),
        ([], "the console needs a terminal"),
        (["report"], "there are no runs in"),
        (["attach", "nope"], "no run nope in"),
        (["resume", "/etc"], "no run /etc in"),
        (["logs", "-n", "-1"], "expected a whole number"),
        (["plan", "--hours", "twelve"], "argument --hours: twelve: expected a number"),
        (["chat", "--top-k", "few"], "top_k few: expected a number or off, for example 50"),
        (["chat", "--seed", "-5"], "seed -5: expected 0 to"),
    ],
)
def test_a_wrong_command_is_explained(tmp_path: Path, arguments: list[str], says: str) -> None:
    assert_refused(tmp_path, *arguments, says=says)


def test_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    local = ("--preset", "quickstart", "--set", "data.source=local", "--set")
    (tmp_path / "empty").mkdir()
    home = tmp_path / "home"
    assert_refused(home, *local, f'data.paths=["{tmp_path}/nope"]', says="/nope does not exist")
    assert_refused(home, *local, f'data.paths=["{tmp_path}/empty"]', says="/empty contains no .txt")


def test_text_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights do not bind root, so the system's answer is made up here."""
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).endswith("secret.txt"))
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path / "home"))
    (tmp_path / "secret.txt").write_text("x")
    paths = f'data.paths=["{tmp_path}/secret.txt"]'
    assert main(["--preset", "quickstart", "--set", "data.source=local", "--set", paths]) == 2
    assert not list((tmp_path / "home" / "runs").iterdir()) if (tmp_path / "home" / "runs").exists() else True


def test_a_file_in_the_place_of_the_home_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("mine")
    done = nanosolo(home, "--preset", "quickstart")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: home: cannot write to {home}: File exists. Check its permissions, or")
    assert home.read_text() == "mine"


def test_a_home_that_can_only_be_read_is_named(tmp_path: Path) -> None:
    within = in_a_mount(tmp_path, "ro")
    if within is None:
        pytest.skip("no file systems can be mounted here")
    done = nanosolo(tmp_path, "--preset", "quickstart", within=within)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "Read-only file system. Check its permissions, or set NANOSOLO_HOME to a folder of your own" in done.stderr
    assert nanosolo(tmp_path, "runs", within=within).returncode == 0


def test_a_disk_that_is_too_small_is_named(tmp_path: Path) -> None:
    within = in_a_mount(tmp_path, "size=1m")
    if within is None:
        pytest.skip("no file systems can be mounted here")
    done = nanosolo(tmp_path, "--preset", "quickstart", within=within)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "1020 KiB free; this run still needs" in done.stderr or "MiB free; this run still needs" in done.stderr


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    within = in_a_mount(tmp_path, "size=16k")
    if within is None:
        pytest.skip("no file systems can be mounted here")
    toml = tmp_path / "out.toml"
    filled = (*within, "sh", "-c", f'head -c 20000 /dev/zero > {tmp_path}/fill 2>/dev/null; "$0" "$@"')
    done = nanosolo(tmp_path.parent / "elsewhere", "--preset", "quickstart", "--export", str(toml), within=filled)
    assert (done.returncode, len(done.stderr.splitlines())) == (5, 1)
    assert "the disk is full" in done.stderr


def test_what_should_not_happen_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> int:
        raise ValueError("odd\nindeed")

    monkeypatch.setattr("tui.cli.commands.runs.runs", fail)
    assert main(["runs"]) == 5
    assert capsys.readouterr().err == (
        "error: ValueError: odd indeed. This should not happen. Run it again with --debug and report it.\n"
    )
    with pytest.raises(ValueError, match="odd"):
        main(["--debug", "runs"])


def test_nothing_commands_the_terminal(tmp_path: Path) -> None:
    toml = tmp_path / "my.toml"
    toml.write_bytes(b'[data]\nsource = "\\u001b[2J\\u0007web\\nline"')
    assert_refused(tmp_path / "home", "--config", str(toml), says='data.source = "�[2J�web line": expected one of')


def test_a_console_that_no_key_can_reach_is_refused() -> None:
    command = f"{shlex.quote(sys.executable)} -c 'from tui.cli.main import entry; entry()' < /dev/null"
    child = pexpect.spawn("/bin/sh", ["-c", command], timeout=60)
    child.expect("the console needs a terminal")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2


def test_what_serving_lacks_is_said_before_a_model_is_loaded(tmp_path: Path) -> None:
    write_run(tmp_path, "red", story_of("red", time.time()))  # it has no weights, which would be said next
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "aiohttp.py").write_text("raise ImportError")
    done = nanosolo(tmp_path, "chat", "red", "--serve", PYTHONPATH=str(tmp_path / "lacking"))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith("error: --serve needs aiohttp. Install it: ")


def test_the_help_names_the_presets(tmp_path: Path) -> None:
    for words in (["--help"], ["plan", "--help"], ["fit", "--help"]):
        said = " ".join(nanosolo(tmp_path, *words).stdout.split()).replace("- ", "-")
        assert all(name in said for name in preset_names())
