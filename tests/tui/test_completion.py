"""Shell completion: what bash offers for real, and that it stays quick."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.helpers.command_line import environment, nanosolo
from tui.cli.completion import COMPLETERS, add_completers
from tui.cli.parser import COMMANDS, SHELLS, build_parser

BASH = shutil.which("bash")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two runs, a folder that is no run, and a preset."""
    for name in ("first-run", "second-run"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.toml").touch()
    (tmp_path / "runs" / "firstborn").mkdir()
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "my-own.toml").touch()
    return tmp_path


def offered(home: Path, line: str) -> list[str]:
    """What nanosolo answers the shell for a line, as the script of `nanosolo completion bash` asks it."""
    answer = home / "answer"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><;|&(:",  # without =, so that whole words come back
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    answer.touch()
    nanosolo(home, **asked)
    return [word.strip() for word in answer.read_text().split("\n") if word]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("nanosolo comp", ["completion"]),
        ("nanosolo --preset bal", ["balanced"]),
        ("nanosolo plan --preset my", ["my-own"]),
        ("nanosolo plan --tr", ["--trace"]),
        ("nanosolo attach first", ["first-run"]),
        ("nanosolo chat se", ["second-run"]),
        ("nanosolo plan --gpu a100-40gb-p", ["a100-40gb-pcie"]),
        ("nanosolo plan --set model.d", ["model.depth="]),
        ("nanosolo plan --set batch.loss=ch", ["batch.loss=chunked"]),
        ("nanosolo plan --set data.shuffle=t", ["data.shuffle=true"]),
        ("nanosolo --stages data,tokeni", ["data,tokenize", "data,tokenizer"]),
        ("nanosolo config sh", ["show"]),
        ("nanosolo config show --preset smo", ["smoke"]),
        ("nanosolo completion z", ["zsh"]),
        ("nanosolo runs --preset ba", []),
    ],
)
def test_what_is_offered(home: Path, typed: str, words: list[str]) -> None:
    assert sorted(offered(home, typed)) == words


@pytest.mark.skipif(BASH is None, reason="no bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("nanosolo plan --preset conser", "nanosolo plan --preset conservative"),
        ("nanosolo attach sec", "nanosolo attach second-run"),
        ("nanosolo plan --set model.dep", "nanosolo plan --set model.depth="),
        ("nanosolo plan --set batch.loss=chu", "nanosolo plan --set batch.loss=chunked"),
    ],
)
def test_bash_completes_at_tab(home: Path, tmp_path: Path, typed: str, completed: str) -> None:
    program = tmp_path / "bin" / "nanosolo"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from tui.cli.main import entry; entry()" "$@"\n')
    program.chmod(0o755)
    root = Path(__file__).parents[2]
    ours = environment(home, PATH=f"{program.parent}:{os.environ['PATH']}", PYTHONPATH=str(root), PS1="$ ", TERM="dumb")
    shell = pexpect.spawn(str(BASH), ["--norc", "--noprofile", "-i"], env=ours, encoding="utf-8", timeout=60)
    shell.setwinsize(24, 200)
    try:
        shell.sendline('PS1="READY> "; source <(nanosolo completion bash); echo load""ed')
        shell.expect_exact("loaded\r\n")
        shell.send(typed + "\t")
        shell.expect_exact(completed)
    finally:
        shell.close(force=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_for_that_shell(home: Path, shell: str) -> None:
    script = nanosolo(home, "completion", shell).stdout
    assert "nanosolo" in script and "_ARGCOMPLETE" in script
    assert {"bash": "complete -o", "zsh": "compdef", "fish": "complete --command nanosolo"}[shell] in script
    if program := shutil.which(shell):
        assert subprocess.run([program, "-n"], input=script, text=True, check=False).returncode == 0


def test_completion_imports_nothing_heavy() -> None:
    heavy = ("torch", "textual", "numpy", "psutil", "rich", "engine.run")
    code = (
        "import sys; from tui.cli.completion import add_completers; from tui.cli.parser import build_parser; "
        f"add_completers(build_parser()); print([name for name in {heavy} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_plain_start_does_not_import_completion() -> None:
    code = "import sys; from tui.cli.main import main; main(['--help'])"
    script = f"import atexit\natexit.register(lambda: print('argcomplete' in sys.modules))\n{code}"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False"


def test_every_completer_is_of_an_option() -> None:
    parser = build_parser()
    add_completers(parser)
    assert set(COMPLETERS) <= {action.dest for action in all_actions(parser)}
    assert set(COMMANDS) >= {"config", "completion"}


def all_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [inner for command in action.choices.values() for inner in all_actions(command)]
    return found
