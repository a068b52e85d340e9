"""Words that read as if translated stay out of code, texts and documents. CONTRIBUTING.md says how to write."""

import re
from collections.abc import Iterator

import pytest

from tests.helpers.import_contracts import ROOT

# what reads as if translated -> what to write instead
INSTEAD = {
    r"(?<!--)\banew\b": "again, or restart",
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\bat work\b": "running",
    r"\blikeliest\b": "most likely, or estimate",
    r"\bbeside\b": "next to, with, in addition to",
    r"\bways out\b": "fixes",
    r"\bgo(es)? on\b": "continue, resume",
    r"\bwent on\b": "continued",
    r"\bas far as\b": "until, where",
    r"\bwhat there is\b": "name it",
    r"\btakes? back\b": "undo",
    r"\b(put|set|puts|sets) aside\b": "archive, quarantine",
    r"\bwhoever\b": "the user, or name who",
    r"\bthere is no more\b": "no more ... is left",
    r"\bhas been and gone\b": "exited",
    r"\bwithout a word\b": "unexpectedly",
    r"\blegal\b(?! (advice|notice))": "range, valid",
    r"\bstands? (for|in|beside|behind|before)\b": "name what it means or where it is",
    r"\bby turns\b": "in turn, alternating",
    r"\b(hitherto|thereof|thereby|therein|whence|nought)\b": "a plain word",
    r"\b(colour|behaviour|favour|honour|neighbour|centred|centre|grey)\w*\b": "American spelling",
    r"\b(recogni|initiali|optimi|quanti|normali|tokeni)s(e|ed|es|ing|er|ation)\b": "American spelling",
}
FILES = [
    *(path for top in ("engine", "tui", "presets", "docs", "bench") for path in (ROOT / top).rglob("*.py")),
    *(path for top in ("engine", "tui", "presets") for path in (ROOT / top).rglob("*.html")),
    *(ROOT / "presets").glob("*.toml"),
    *(ROOT / "docs").rglob("*.md"),
    *ROOT.glob("*.md"),
    *ROOT.glob("*.sh"),
    *(ROOT / "tests").glob("*.sh"),
    *(ROOT / "bench").rglob("*.sh"),
]
EXCEPT = {
    ROOT / "CHANGELOG.md",  # names what was renamed
    ROOT / "engine" / "data" / "chat" / "builtin_dialogs.py",  # training data: runs depend on every word
}
NAMES = {  # a field of an event and the id of a key, which existing runs and settings hold
    "engine/events/kinds.py": "anew",
    "engine/events/history.py": "anew",
    "engine/events/stage_requests.py": "anew",
    "engine/launch/rerun.py": "anew",
    "tui/keys/bindings.py": "beside",
    "tui/screens/chat/chat_screen.py": "beside",
}


def found_in(text: str) -> Iterator[str]:
    for pattern, instead in INSTEAD.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            yield f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}; write: {instead}"


@pytest.mark.parametrize("text", ["Fetch it anew.", "it goes on", "Mend its rights.", "a grey colour"])
def test_the_rule_finds_what_it_is_for(text: str) -> None:
    assert list(found_in(text))


def test_flags_and_tags_of_old_runs_may_be_named() -> None:
    assert not list(found_in("the event stage_anew; --anew still works"))


def test_texts_are_in_plain_words() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in FILES if path not in EXCEPT}
    assert len(texts) > 400
    found = {name: [p for p in found_in(text) if NAMES.get(name, "-") not in p] for name, text in texts.items()}
    assert not {name: places for name, places in found.items() if places}
