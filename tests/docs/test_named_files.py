"""Every file of the project that a Markdown page names exists."""

import re
from pathlib import Path

import pytest

from tests.docs.test_links import PAGES, ROOT

FOLDERS = "engine|tui|presets|tests|bench|docs"
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w./*-]*)(?:::\w+)?`")
CHECKED = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which tells of files that are no longer there
MADE_BY_A_GPU = "bench/results/gpu-"  # `bash bench/gpu.sh` writes them


def missing_files(text: str) -> list[str]:
    names = [name for name in NAMED.findall(text) if not name.startswith(MADE_BY_A_GPU) and "NAME" not in name]
    return [name for name in names if not any(ROOT.glob(name))]


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page: Path) -> None:
    assert missing_files(page.read_text(encoding="utf-8")) == []


def test_a_missing_file_is_found() -> None:
    assert missing_files("`engine/nothing.py` and `engine/plan/plan.py`, `tests/x.py::test_y`") == [
        "engine/nothing.py",
        "tests/x.py",
    ]
