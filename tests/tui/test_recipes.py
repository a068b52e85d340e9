"""The recipes of docs/recipes.md: their commands are taken from the page and run, with a tiny my.toml."""

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.config.layers import to_toml
from engine.events.history import read_history
from engine.events.kinds import Step
from engine.run.directory import RunDirectory
from engine.run.state import state_of
from tests.helpers import tiny_run
from tests.helpers.command_line import PROGRAM, environment
from tui.cli.main import parse

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
STAND_IN = Path(__file__).parents[1] / "helpers" / "stand_in"
CRON = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "LOGNAME": "somebody"}  # all that cron gives, with HOME


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], re.DOTALL)


class Place:
    """A folder with my.toml, a home, and nanosolo where the recipes expect it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "nanosolo-home"
        self.checkout = folder / "nanosolo"
        program = self.checkout / ".venv" / "bin" / "nanosolo"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
        program.chmod(0o755)
        self.run = RunDirectory(self.home / "runs" / "first")
        self.environment = environment(
            self.home, PATH=f"{program.parent}:{os.environ['PATH']}", HOME=str(folder), TMUX_TMPDIR=str(folder)
        )

    def write(self, config: str) -> None:
        (self.checkout / "my.toml").write_text(config)

    def shell(self, script: str, **more: str) -> "subprocess.Popen[str]":
        """Start a script as a terminal would: in a session of its own, whose group can be ended as a whole."""
        return subprocess.Popen(
            ("bash", "-c", script),
            env={**self.environment, **more},
            cwd=self.checkout,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, script: str) -> str:
        """Run a script to its end. Raises AssertionError with what it printed where it fails."""
        done = self.shell(script)
        said, _ = done.communicate(timeout=tiny_run.PATIENCE)
        assert done.returncode == 0, said
        return said

    def works(self) -> bool:
        return (self.run.path / "data.began").exists() and self.run.is_running()

    def state(self) -> str:
        return state_of(self.run, read_history(self.run.events_file), time.time())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place whose run has one stage, a stand-in that trains until it is stopped."""
    place = Place(tmp_path)
    place.write('[data]\nsource = "builtin"\n[runtime]\ngpu = "cpu"\ndevice = "cpu"\n[pipeline]\nstages = "data"\n')
    place.environment |= {"STAND_IN": "1", "STAND_IN_BEHAVIOUR": '{"data": "train"}', "PYTHONPATH": str(STAND_IN)}
    yield place
    for process in psutil.process_iter(["cmdline"]):
        if any(str(place.run.path) in word for word in process.info["cmdline"] or ()):
            process.kill()


def wait_for(there: Callable[[], bool], what: str = "the run") -> None:
    tiny_run.wait_until(there, what)


def stopped_after_a_checkpoint(place: Place) -> bool:
    return place.state() == "stopped" and bool(read_history(place.run.events_file).checkpoints)


def stop(place: Place) -> None:
    place.finish("nanosolo stop first")
    wait_for(lambda: stopped_after_a_checkpoint(place), "a stop with a checkpoint")


def take_away(place: Place) -> None:
    """End the run as a machine does that is switched off: runner and stage, at once."""
    info = place.run.runner()
    assert info is not None
    runner = psutil.Process(info.pid)
    for process in (runner, *runner.children(recursive=True)):
        process.kill()
    wait_for(lambda: not place.run.is_running(), "the end of the machine")


def test_every_command_is_shell_with_options_that_exist() -> None:
    scripts = re.findall(r"```(?:bash|sh)\n(.*?)```", PAGE, re.DOTALL)
    assert len(scripts) > 8
    asked = 0
    for script in scripts:
        checked = subprocess.run(("bash", "-n", "-c", script), capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
        for words in re.findall(r"(?<![-/\w])nanosolo ((?:--)?[a-z][^'|;&>\n]*)", script):
            assert parse(shlex.split(words)).command is not None
            asked += 1
    assert asked >= 8


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_in_tmux_the_run_outlives_tmux(place: Place) -> None:
    (script,) = blocks("tmux", "bash")
    place.finish(script)
    wait_for(place.works)
    place.finish("tmux kill-server")
    assert place.works()
    stop(place)


@pytest.mark.parametrize("number", [0, 1], ids=["nohup", "detach"])
def test_without_a_terminal_the_run_outlives_its_shell(place: Place, number: int) -> None:
    shell = place.shell(blocks("nohup", "bash")[number] + "\nsleep 60")
    wait_for(place.works)
    os.killpg(shell.pid, signal.SIGHUP)
    shell.wait(tiny_run.PATIENCE)
    assert place.works()
    stop(place)


def test_cron_resumes_after_a_reboot_with_what_cron_gives(place: Place) -> None:
    place.finish("nanosolo --config my.toml --name first --detach")
    wait_for(place.works)
    take_away(place)
    (line,) = blocks("cron", "crontab")
    when, command = line.strip().split(" ", 1)
    assert when == "@reboot" and "%" not in command
    given = {name: place.environment[name] for name in ("STAND_IN", "STAND_IN_BEHAVIOUR", "PYTHONPATH")}
    done = subprocess.run(
        ("/bin/sh", "-c", command.replace("sleep 30", "sleep 0")),
        env={**CRON, "HOME": str(place.folder), **given},
        cwd="/",
        timeout=tiny_run.PATIENCE,
        check=False,
    )
    assert done.returncode == 0, (place.folder / "first.out").read_text()
    wait_for(place.works)
    stop(place)


def test_the_unit_is_valid_and_its_stop_leads_to_a_checkpoint(place: Place) -> None:
    (text,) = blocks("systemd", "ini")
    text = text.replace("%h", str(place.folder))
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    service = unit["Service"]
    if shutil.which("systemd-analyze"):
        file = place.folder / "nanosolo-first.service"
        file.write_text(text)
        told = subprocess.run(("systemd-analyze", "verify", file), capture_output=True, text=True, check=False)
        assert file.name not in told.stderr, told.stderr
    name, _, home = service["Environment"].partition("=")
    main = subprocess.Popen(
        shlex.split(service["ExecStart"]), cwd=service["WorkingDirectory"], env={**place.environment, name: home}
    )
    wait_for(place.works)
    assert service["KillMode"] == "mixed"
    main.terminate()  # as systemd does: the main process alone
    assert main.wait(tiny_run.PATIENCE) == 130 and stopped_after_a_checkpoint(place)
    assert "130" in service["SuccessExitStatus"].split() and "130" in service["RestartPreventExitStatus"].split()


def pid_namespace() -> tuple[str, ...] | None:
    """A command that makes another process 1 of its own; None where that is not allowed."""
    within = ("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")
    if shutil.which("unshare") is None:
        return None
    return within if subprocess.run((*within, "true"), capture_output=True, check=False).returncode == 0 else None


def test_as_process_1_of_a_container_it_stops_after_a_checkpoint_and_starts_again(place: Place) -> None:
    within = pid_namespace()
    if within is None:
        pytest.skip("no process namespaces here")
    (text,) = blocks("Container", "dockerfile")
    entry = json.loads(text.partition("ENTRYPOINT ")[2])
    assert "ENV NANOSOLO_HOME=/home-of-runs" in text
    entry[0] = entry[0].replace("/nanosolo", str(place.checkout), 1)
    for start in (1, 2):  # the second is docker start
        outer = subprocess.Popen((*within, *entry), cwd=place.checkout, env=place.environment)
        begun = place.run.path / "data.began"
        wait_for(begun.exists)
        (first,) = psutil.Process(outer.pid).children()
        first.terminate()  # as docker stop does: process 1 alone
        assert outer.wait(tiny_run.PATIENCE) == 130 and stopped_after_a_checkpoint(place)
        assert len(read_history(place.run.events_file).attempts) == start
        begun.unlink()


@pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
def test_a_run_taken_away_with_its_machine_ends_elsewhere_as_if_nothing_had_been(tmp_path: Path) -> None:
    copying, last_copy, back = blocks("Spot machine", "bash")
    corpus = tiny_run.write_corpus(tmp_path / "corpus")
    stages = ["data", "tokenizer", "tokenize", "pretrain"]
    config = to_toml(tiny_run.tiny_config(corpus, pipeline__stages=stages, budget__steps=150))
    undisturbed, before, after = (Place(tmp_path / name) for name in ("undisturbed", "before", "after"))
    keep = {"KEEP": str(tmp_path / "keep"), "EVERY": "0.2"}
    for place in (undisturbed, before, after):
        place.write(config)
        place.environment |= keep
    before.finish("nanosolo --config my.toml --name first --detach")
    tiny_run.wait_for_step(before.run, 12)
    before.finish(last_copy.replace("nanosolo attach first", "nanosolo attach first || [ $? = 130 ]"))
    assert before.state() == "stopped"
    before.finish("nanosolo resume first --detach")
    loop = before.shell(copying)
    tiny_run.wait_for_step(before.run, 30)
    kept = RunDirectory(tmp_path / "keep" / "runs" / "first")
    wait_for(lambda: any(event.step >= 30 for event in tiny_run.events_of(kept, Step)), "a copy")
    os.killpg(loop.pid, signal.SIGKILL)
    take_away(before)
    shutil.rmtree(before.folder)
    shutil.rmtree(corpus)  # its tokens are enough
    after.home.mkdir()
    after.finish(back)
    undisturbed_corpus = tiny_run.write_corpus(tmp_path / "corpus")
    assert undisturbed_corpus == corpus
    undisturbed.finish("nanosolo --config my.toml --name first")
    assert tiny_run.losses(after.run) == tiny_run.losses(undisturbed.run)
    assert tiny_run.final_weights(after.run, 150) == tiny_run.final_weights(undisturbed.run, 150)
