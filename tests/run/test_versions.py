"""Which code ran: the commit of a real checkout, changes to it included, and when two codes are not the same."""

import os
import subprocess
from pathlib import Path

import pytest

from engine import __version__
from engine.hardware import versions
from engine.hardware.versions import Code, commit_of, is_other, warning_of_other_code


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "safe.directory=*")
    command = ("git", *identity, "-C", str(folder), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("one\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


def test_a_commit_is_named_and_changes_to_it_have_a_fingerprint(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "--short=12", "HEAD").strip()
    assert commit_of(checkout) == (head, "")
    (checkout / "code.py").write_text("two\n")
    commit, two = commit_of(checkout)
    assert commit == f"{head}-dirty" and len(two) == 8
    assert commit_of(checkout) == (commit, two)
    (checkout / "code.py").write_text("three\n")
    assert commit_of(checkout)[1] not in ("", two)
    (checkout / "code.py").write_text("one\n")
    (checkout / "a run").mkdir()  # what git does not track is no code
    assert commit_of(checkout) == (head, "")


def test_what_is_no_checkout_has_no_commit(checkout: Path) -> None:
    (checkout / "site-packages").mkdir()
    assert commit_of(checkout / "site-packages") == ("", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a checkout to another user")
def test_a_checkout_of_another_user_has_its_commit(checkout: Path) -> None:
    known = commit_of(checkout)
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, 54321, 54321)
    assert commit_of(checkout) == known


def test_a_repository_that_the_environment_names_is_not_asked(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = commit_of(checkout)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert commit_of(checkout) == known


def test_an_image_names_the_commit_it_was_built_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOSOLO_COMMIT", "fedcba987654")
    versions.this_code.cache_clear()
    try:
        assert versions.this_code() == Code(__version__, "fedcba987654")
    finally:
        versions.this_code.cache_clear()


@pytest.mark.parametrize(
    ("then", "now", "other"),
    [
        (Code("1", "a"), Code("1", "a"), False),
        (Code("1", "a"), Code("1", "b"), True),
        (Code("1", "a"), Code("2", "a"), True),
        (Code("1", "a"), Code("1", "a-dirty", "7"), True),
        (Code("1", "a-dirty", "7"), Code("1", "a-dirty", "7"), False),
        (Code("1", "a-dirty", "7"), Code("1", "a-dirty", "8"), True),
        (Code("1", "a-dirty", ""), Code("1", "a-dirty", "8"), True),
        (Code("1"), Code("1"), False),  # installed: the version alone tells
        (Code("1"), Code("2"), True),
        (Code("1", "a"), Code("1"), False),
    ],
)
def test_codes_differ_when_version_commit_or_changes_do(then: Code, now: Code, other: bool) -> None:
    assert is_other(then, now) is is_other(now, then) is other
    assert bool(warning_of_other_code("it", then, now)) is other
    assert warning_of_other_code("it", None, now) == ""


def test_the_warning_names_both() -> None:
    said = warning_of_other_code("step 40 of sft", Code("1", "a-dirty", "7"), Code("1", "a-dirty", "8"))
    assert said == (
        "step 40 of sft was written by nanosolo 1 (a-dirty), this is 1 (a-dirty), each with other uncommitted changes: "
        "results may differ"
    )
