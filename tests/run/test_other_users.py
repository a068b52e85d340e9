"""Two users on one host, as two real user ids: what one may do with the home and the runs of the other."""

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.hardware.gpu_catalog import cpu
from engine.run.directory import create_run
from tests.helpers import tiny_run
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.made_run import config_of, plan_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

OTHER = 54321  # a user id without a name
# what is imported later might lie where only root can read
BEFORE = """
import os, sys
import engine.stages.tokenize, engine.stages.train_tokenizer
import engine.launch.rerun, engine.launch.control, engine.diagnostics.doctor, engine.launch.relaunch
import engine.launch.start, engine.launch.prepare
import tui.cli.main, tui.cli.commands.train, tui.cli.commands.runs, tui.cli.commands.doctor, filelock, rustbpe, tiktoken
from pathlib import Path
from engine.core.errors import NanosoloError
from engine.run.directory import RunDirectory
import pwd, sysconfig
engine.hardware.probe_machine.torch_build()
sysconfig.get_config_vars()
os.setgroups([]); os.setgid({other}); os.setuid({other})
try:
    {code}
except NanosoloError as error:
    sys.exit(f"error: {{error}}")
"""


@pytest.fixture
def ground() -> Iterator[Path]:
    """A folder that all users reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_other(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python as the other user."""
    command = [sys.executable, "-c", BEFORE.format(other=OTHER, code=code)]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )


def other_home(ground: Path) -> str:
    folder = ground / "other"
    folder.mkdir()
    os.chown(folder, OTHER, OTHER)
    return str(folder)


def everybody_writes(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


def test_a_cache_of_another_user_needs_no_right_to_write(ground: Path) -> None:
    base = tiny_run.Base(ground / "base")
    (ground / "other").mkdir()
    run = base.run(ground / "other" / "run")
    run.tokens_file.unlink()
    (run.tokenizer / "tokenizer.json").unlink()
    for path in (ground / "other", *(ground / "other").rglob("*")):
        os.chown(path, OTHER, OTHER)
    base.home.chmod(0o755)
    before = sorted(base.home.rglob("*"))
    stages = "train_tokenizer.make_tokenizer", "tokenize.write_tokens"
    code = "from engine.stages.runtime import StageContext; "
    code += "; ".join(f"engine.stages.{s}(StageContext(RunDirectory(Path({str(run.path)!r})), 'data'))" for s in stages)
    done = as_other(code, NANOSOLO_DATA=str(base.home), NANOSOLO_HOME=str(ground / "other" / "home"))
    assert done.returncode == 0, done.stderr
    assert f'"directory":"{base.home}/data/tokens/' in run.tokens_file.read_text()
    assert sorted(base.home.rglob("*")) == before
    assert "not used" not in done.stdout

    for path in (base.home / "tokenizers", *(base.home / "data" / "tokens").iterdir()):
        path.chmod(0o700)
    done = as_other(code, NANOSOLO_DATA=str(base.home), NANOSOLO_HOME=str(ground / "other" / "home"))
    assert done.returncode == 0, done.stderr
    assert f'"directory":"{ground}/other/home/data/tokens/' in run.tokens_file.read_text()
    assert done.stdout.count("is not used: Permission denied") + done.stdout.count("Permission denied") >= 2


def test_the_home_of_another_user_is_refused_with_the_way_out(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = ground / "home"
    monkeypatch.setenv("NANOSOLO_HOME", str(home))
    config = config_of("quickstart")
    create_run("one", config, plan_of(config, cpu(1, 2**34)))
    everybody_writes(home)
    code = "engine.launch.start.start(engine.launch.prepare.prepare(engine.launch.prepare.RunConfig()))"
    owner = pwd.getpwuid(0).pw_name
    done = as_other(code, NANOSOLO_HOME=str(home))
    assert done.stderr.startswith(
        f"error: home: {home} is the home of {owner}. Set NANOSOLO_HOME to a folder of your own"
    )
    assert f"NANOSOLO_DATA={home} then reads" in done.stderr
    assert [path.name for path in (home / "runs").iterdir()] == ["one"]


def test_root_is_told_whose_home_it_writes_to(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.diagnostics.doctor import examine

    monkeypatch.setenv("NANOSOLO_HOME", other_home(ground))
    assert "home owner" not in {check.subject for check in examine()}
    (ground / "other" / "runs").mkdir()
    os.chown(ground / "other" / "runs", OTHER, OTHER)
    [note] = (check for check in examine() if check.subject == "home owner")
    assert note.severity == "note"
    assert f"is the home of user {OTHER}" in note.message


def test_only_its_user_stops_a_run_or_goes_on_with_it(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = ground / "home"
    monkeypatch.setenv("NANOSOLO_HOME", str(home))
    config = config_of("quickstart")
    run = create_run("one", config, plan_of(config, cpu(1, 2**34)))
    for folder in (home, home / "runs", run.path):
        folder.chmod(0o755)
    owner = pwd.getpwuid(0).pw_name
    state = f"run = RunDirectory(Path({str(run.path)!r})); print(run.is_running())"
    with FakeRunner(run, ground) as fake:
        for private in (True, False):
            run.lock_file.chmod(0o600 if private else 0o644)
            assert as_other(state).stdout == "True\n"
        for now in (True, False):
            done = as_other(f"{state}; engine.launch.control.stop_run(run, now={now})")
            assert (
                done.stderr == f"error: run one was started by {owner}: only this user or root can stop it. Ask them.\n"
            )
        assert fake.process.poll() is None
    for again in (
        "engine.launch.start.resume_run(run)",
        "engine.launch.rerun.rerun_stages(run, ['pretrain'])",
        "engine.launch.relaunch.relaunch(run, {'runtime.seed': 2})",
    ):
        done = as_other(f"{state}; {again}", NANOSOLO_HOME=str(ground / "mine"))
        assert done.stderr.startswith(
            f"error: run one is in {run.path}, where only {owner} can write. Ask {owner}, or continue"
        )
        assert f"cp -r {run.path} {ground}/mine/runs" in done.stderr
