"""Every relative link and anchor in the Markdown pages points to something that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


PAGES = sorted(page for pattern in ("*.md", "docs/**/*.md", "bench/**/*.md") for page in ROOT.glob(pattern))


def prose(page: Path) -> str:
    """The text of a page without its fenced code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading: lower case, punctuation removed, spaces as hyphens."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)  # a link keeps only its text
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def broken_links(page: Path, root: Path = ROOT) -> list[str]:
    broken = []
    for target in LINK.findall(re.sub(r"`[^`]*`", "", prose(page))):
        if re.match(r"[a-z]+:", target):
            continue  # another site
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        exists = file.is_relative_to(root) and file.exists()
        if not exists or (fragment and fragment not in map(anchor, HEADING.findall(prose(file)))):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_points_to_something_that_exists(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Two words, `code`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](other.md) [b](nowhere.md) [c](#one) [d](#two) [e](other.md#two-words-code) [f](other.md#one)"
        " ![g](no.svg) [h](https://x.org) `[i](no.md)`\n```\n[j](no.md)\n```\n[k](../outside.md)\n"
    )
    assert broken_links(page, tmp_path) == ["nowhere.md", "#two", "other.md#one", "no.svg", "../outside.md"]


def test_every_page_of_the_docs_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(prose(page)))
        waiting += [
            (page.parent / target).resolve() for target in targets if target.endswith(".md") and ":" not in target
        ]
    assert set((ROOT / "docs").rglob("*.md")) <= reached
